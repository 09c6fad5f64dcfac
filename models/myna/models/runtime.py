"""One step of the model in ONNX Runtime: features, state and adapters in, log-probabilities and new state out.

No clock, no threads of its own; numpy in and out. A row's result does not depend on the other rows.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from myna.models.adapter import AdapterBatch
from myna.models.bundle import Bundle
from myna.models.errors import BundleError
from myna.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Step:
    """What a step gives; the caller keeps the valid new frames of each row."""

    log_probs: NDArray[np.float32]  # (B, T, vocabulary)
    att_new: NDArray[np.float32]  # (B, blocks, heads, T, 2 head_width + 1)
    conv_new: NDArray[np.float32]  # (B, blocks, T, width)
    activations: NDArray[np.float32] | None = None  # (B, blocks + 1, T, width)


class Runtime:
    """A bundle's graph, ready to run."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.spec: ModelSpec = bundle.spec
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A plan of memory would be kept for each shape ever seen, and shapes differ from step to step. The arena stays:
        # without it, every step gets its pages from the system anew, which is a quarter of its time.
        options.enable_mem_pattern = False
        # Threads that wait for work must not eat the core that the rest of the server needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(bundle.step_path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a class of its own for each kind of failure
            raise BundleError(f"{bundle.step_path.name}: ONNX Runtime refuses it ({error})") from None
        self._no_adapters = lru_cache(maxsize=8)(lambda rows: AdapterBatch.zeros(self.spec, rows))

    def step(
        self,
        feats: NDArray[np.float32],
        frames: NDArray[np.int64],
        offset: NDArray[np.int64],
        cached: NDArray[np.int64],
        att_cache: NDArray[np.float32],
        conv_cache: NDArray[np.float32],
        adapters: AdapterBatch | None = None,
        activations: bool = False,
    ) -> Step:
        """Run one chunk of each row.

        feats (B, M, mels) before normalisation, padded on the right; frames (B,) valid encoder frames; offset (B,)
        position of the first; cached (B,) valid frames at the end of att_cache (B, blocks, heads, C, 2 head_width + 1);
        conv_cache (B, blocks, kernel - 1, width), zeros before the utterance.
        """
        bend = adapters or self._no_adapters(len(feats))
        inputs = {
            "feats": feats,
            "frames": frames,
            "offset": offset,
            "cached": cached,
            "att_cache": att_cache,
            "conv_cache": conv_cache,
            "adapter_down": bend.down,
            "adapter_up": bend.up,
            "adapter_shift": bend.shift,
        }
        names = ["log_probs", "att_new", "conv_new", *(["activations"] if activations else [])]
        return Step(*self._session.run(names, inputs))

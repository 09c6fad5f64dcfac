"""ModelSpec: the arithmetic facts of one model; they live in its bundle and nowhere else."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Feature frames that one encoder frame sees, by subsampling factor: unpadded convolutions of kernel/stride
# 3/2 3/2, 3/2 5/3 and 3/2 3/2 3/2.
WINDOW_FRAMES = {4: 7, 6: 11, 8: 15}


class FeatureSpec(BaseModel):
    """How samples become feature frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flavour: Literal["kaldi", "log_mel", "mfcc", "spectrogram"] = Field(
        "kaldi",
        description="kaldi: Kaldi's log mel filterbank; log_mel: Slaney's mel bands under a Hann window (librosa, "
        "Whisper); mfcc: Kaldi's cepstra, as many as mel bands; spectrogram: the logarithm of each bin's power",
    )
    sample_rate_hz: int = 16000
    mels: int = Field(80, description="numbers of a frame; of a spectrogram: fft_samples / 2 + 1")
    frame_length_ms: int = 25
    frame_shift_ms: int = 10

    @model_validator(mode="after")
    def _fit(self) -> "FeatureSpec":
        bins = self.fft_samples // 2 + 1
        if self.flavour == "spectrogram" and self.mels != bins:
            raise ValueError(f"mels: a spectrogram of {self.frame_length_samples} samples has {bins} numbers a frame")
        return self

    @property
    def frame_length_samples(self) -> int:
        """Samples that one feature frame sees."""
        return self.sample_rate_hz * self.frame_length_ms // 1000

    @property
    def frame_shift_samples(self) -> int:
        """Samples from one feature frame to the next."""
        return self.sample_rate_hz * self.frame_shift_ms // 1000

    @property
    def fft_samples(self) -> int:
        """Points of the Fourier transform: the next power of two."""
        return 1 << max(1, (self.frame_length_samples - 1).bit_length())


class ModelSpec(BaseModel):
    """The shape of a chunked conformer with a CTC head.

    An encoder frame t sees the feature frames [t * subsampling, t * subsampling + window_frames):

        features  0 1 2 3 4 5 6 7 8 9 10 11 12 ...        (subsampling 6, window 11)
        frame 0   x x x x x x x x x x x
        frame 1               x x x x x x  x  x ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureSpec = FeatureSpec()
    subsampling: Literal[4, 6, 8]
    front_channels: int = Field(0, ge=0, description="of the subsampling's convolutions; 0: as many as width")
    blocks: int = Field(ge=1)
    heads: int = Field(ge=1)
    width: int = Field(ge=1)
    feed_forward: int = Field(ge=1)
    kernel: int = Field(ge=1, description="frames under the causal depthwise convolution")
    macaron: bool = True
    conv_norm: Literal["layer_norm", "batch_norm"] = "layer_norm"
    conv_history: Literal["gate", "zeros"] = Field(
        "gate",
        description="what the convolution hears before an utterance: the gate's answer to zeros (WeNet), or zeros",
    )
    norm_eps: float = 1e-5
    conv_norm_eps: float = 1e-5
    positions: Literal["key", "absolute", "none"] = Field(
        "key", description="key: WeNet's rel_pos, a term of the key's absolute position; absolute: added to the input"
    )
    max_positions_frames: int = 5000
    vocabulary: int = Field(ge=2)
    blank_id: int = Field(0, ge=0)
    chunk_frames: int = Field(ge=1, description="encoder frames of a full chunk by default")
    chunk_choices_frames: tuple[int, ...] = Field(description="chunk sizes the model was trained for")
    left_frames: int = Field(ge=1, description="encoder frames of left context kept in the attention cache, at most")

    @model_validator(mode="after")
    def _fit(self) -> "ModelSpec":
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} heads do not divide a width of {self.width}")
        if self.width % 2 and self.positions != "none":
            raise ValueError("width: must be even for sines and cosines of positions")
        if self.blank_id >= self.vocabulary:
            raise ValueError(f"blank_id: must be below the vocabulary's {self.vocabulary}")
        if min(self.chunk_choices_frames, default=0) < 1:
            raise ValueError("chunk_choices_frames: needs a size, each 1 or more")
        return self

    @property
    def window_frames(self) -> int:
        """Feature frames that one encoder frame sees."""
        return WINDOW_FRAMES[self.subsampling]

    @property
    def frame_samples(self) -> int:
        """Samples from one encoder frame to the next."""
        return self.subsampling * self.features.frame_shift_samples

    @property
    def frame_ms(self) -> int:
        """Milliseconds from one encoder frame to the next."""
        return self.subsampling * self.features.frame_shift_ms

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads

    @property
    def attention_cache_width(self) -> int:
        """Numbers kept per cached key and head: key, value and one score that does not depend on the query."""
        return 2 * self.head_width + 1

    def features_needed(self, frames: int) -> int:
        """Feature frames needed for so many encoder frames."""
        return self.subsampling * (frames - 1) + self.window_frames if frames > 0 else 0

    def frames_ready(self, features: int) -> int:
        """Encoder frames that so many feature frames give."""
        return max(0, (features - self.window_frames) // self.subsampling + 1)

    def samples_needed(self, frames: int) -> int:
        """Samples needed for so many encoder frames."""
        if frames <= 0:
            return 0
        shift = self.features.frame_shift_samples
        return (self.features_needed(frames) - 1) * shift + self.features.frame_length_samples

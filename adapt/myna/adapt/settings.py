"""What a recipe says about data and about what is done to it before it is learnt from; frozen, unknown keys refused."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0.5, le=2)]
Range = tuple[float, float]


class Source(BaseModel):
    """Utterances and their texts in one of the usual layouts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["manifest", "librispeech", "common_voice", "csv"] = Field(
        description="manifest: JSON lines, audio relative to the file; librispeech: a folder with *.trans.txt; "
        "common_voice: a TSV beside clips/; csv: a table with a header, commas or (.tsv) tabs"
    )
    path: Path = Field(description="the manifest, the folder or the table")
    weight: float = Field(1.0, gt=0, description="how often an epoch holds each utterance; 0.5: a random half of them")
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field({}, description="factors of weight by corpus")
    corpus: str | None = Field(None, description="name for scores; none: what the manifest says, else the path's name")
    text_column: str = Field("text", description="field or column of the text (manifest, csv)")
    audio_column: str = Field("audio", description="field or column of the audio's path (manifest, csv)")
    speaker_column: str = Field("speaker", description="field or column of the speaker, may be absent (manifest, csv)")

    def weight_of(self, corpus: str) -> float:
        """Return how often an epoch holds each utterance of a corpus."""
        return self.weight * self.weights.get(corpus, 1.0)


class DataSettings(BaseModel):
    """What is learnt from and in which portions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[Source] = Field(min_length=1, description="learnt from")
    valid: list[Source] = Field([], description="judged by; empty: a share of train is set aside")
    split_by: Literal["utterance", "speaker"] = Field(
        "speaker",
        description="what stays together when train is split; where speakers are unknown, utterances of one text do",
    )
    shares: tuple[Share, Share, Share] = Field(
        (0.8, 0.1, 0.1), description="of train, valid and test, summing to 1; used where valid is empty"
    )
    folds: int = Field(0, ge=0, description="cross validation in so many parts instead of shares; 0: none")
    min_s: float = Field(0.3, ge=0, description="shorter utterances are dropped")
    max_s: float = Field(17.0, gt=0, description="longer utterances are dropped or truncated, as too_long says")
    too_long: Literal["drop", "truncate"] = Field(
        "drop",
        description="truncate keeps the first max_s with the whole text: where the words end is unknown, so it is "
        "right only if the rest holds none (music, silence); else the model learns words that it can't hear",
    )
    batch_s: float = Field(
        60.0, gt=0, description="audio of a batch at most, padding counted; a longer utterance is a batch by itself"
    )
    mix_lengths: Share = Field(
        0.05,
        description="share of utterances put among those of another length: 0 pads least, but all the shortest clips "
        "fall into a few batches an epoch and hardly count; 0.05 pads a tenth; 1 mixes all",
    )
    normalise: bool = Field(False, description="bring every utterance's peak to the same level, half of full scale")
    quiet_s: Range = Field(
        (0.0, 0.0), description="near-silence put before and after a training utterance: seconds, at random between"
    )

    @model_validator(mode="after")
    def _fit(self) -> "DataSettings":
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares: sum to {sum(self.shares):g}; make them sum to 1")
        if not self.shares[0]:
            raise ValueError("shares: leave nothing to train on; make the first more than 0")
        if self.folds == 1:
            raise ValueError("folds: one fold leaves nothing to train on; give 2 or more, or 0 for none")
        if self.min_s >= self.max_s:
            raise ValueError(f"min_s: must be below max_s, {self.max_s:g}")
        _ordered(self, "quiet_s", 0)
        return self


class AugmentSettings(BaseModel):
    """What is done to training utterances at random. Shares are of utterances; 0 leaves it out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speed_share: Share = Field(0.6, description="utterances played faster or slower, pitch and all")
    speeds: tuple[Factor, ...] = Field((0.9, 0.95, 1.05, 1.1), description="factors to choose from; above 1 is faster")
    tempo_share: Share = Field(0.0, description="utterances stretched or pressed in time, at their pitch")
    tempos: tuple[Factor, ...] = Field((0.85, 0.9, 1.1, 1.2), description="factors to choose from; above 1 is faster")
    pitch_share: Share = Field(0.0, description="utterances whose pitch (and formants) is moved, at their tempo")
    pitch_semitones: Range = Field((-3.0, 3.0), description="of the move, at random between")
    gain_db: Range = Field((-8.0, 6.0), description="change of level of every utterance, at random between")
    rooms_share: Share = Field(0.0, description="utterances heard in a room: recorded impulse responses or simulated")
    rooms_rt60_s: Range = Field((0.15, 0.7), description="reverberation time of simulated rooms, at random between")
    rooms_recorded_share: Share = Field(0.5, description="of rooms, those with a response of `noise`, if it holds any")
    noise: Path | None = Field(
        None,
        description="noises: a folder of audio, or JSON lines `{audio, label?}`; those labelled `rir` (in a folder: "
        "named so) are impulse responses of rooms",
    )
    noise_share: Share = Field(0.5, description="utterances with noise, where `noise` is given")
    snr_db: Range = Field((5.0, 25.0), description="level of speech over noise or babble, at random between")
    babble_share: Share = Field(0.0, description="utterances with other utterances in the background")
    babble_voices: tuple[int, int] = Field((3, 7), description="how many, at random between")
    codec_share: Share = Field(0.0, description="utterances as a codec leaves them, one of `codecs`")
    codecs: tuple[Literal["telephone", "mu_law", "opus"], ...] = Field(
        ("telephone", "mu_law", "opus"),
        description="telephone: 8 kHz and mu-law; mu_law: 8 bits at the full rate; opus: at a low bit rate",
    )
    spec_bands: int = Field(2, ge=0, description="bands of bins hidden in the features (SpecAugment)")
    spec_band_bins: int = Field(15, ge=0, description="width of a band at most")
    spec_share: Share = Field(
        0.05, description="frames hidden in stripes, about; none is wider than spec_stripe_frames"
    )
    spec_stripe_frames: int = Field(20, ge=1, description="width of a stripe at most, in feature frames")

    @model_validator(mode="after")
    def _fit(self) -> "AugmentSettings":
        for share, choices in (("speed_share", "speeds"), ("tempo_share", "tempos"), ("codec_share", "codecs")):
            if getattr(self, share) and not getattr(self, choices):
                raise ValueError(f"{choices}: is empty; name one, or set {share} to 0")
        for name in ("pitch_semitones", "gain_db", "snr_db"):
            _ordered(self, name)
        _ordered(self, "rooms_rt60_s", 0.01)
        _ordered(self, "babble_voices", 1)
        return self


def _ordered(settings: BaseModel, name: str, least: float = float("-inf")) -> None:
    low, high = getattr(settings, name)
    if not least <= low <= high:
        bound = f", from {least:g} on" if least > float("-inf") else ""
        raise ValueError(f"{name}: give the lower end first{bound}")

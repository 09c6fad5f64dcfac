#!/bin/sh
# Build the default bundle: build.sh WENET_DIR SPEECH_DIR NOISE_DIR WORK
#   WENET_DIR     WeNet's GigaSpeech U2++ conformer: train.yaml, final.pt, units.txt, global_cmvn (MODEL_CARD.md tells
#                 where the weights come from, and what was learnt again)
#   SPEECH_DIR    holds train.jsonl and dev.jsonl: lines {"audio", "text", "speaker", "corpus"}
#   NOISE_DIR     audio of noise
#   WORK          a new folder, or that of a broken-off build, which goes on; the bundle ends in WORK/english
# Needs the extra `adapt`, 10 GB of memory, and as long as the recipes say, six and a half hours, on two idle cores.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
work="$4"
mkdir -p "$work"
cp "$here"/*.toml "$work"
ln -sfn "$(realpath "$1")" "$work/wenet"
ln -sfn "$(realpath "$2")" "$work/speech"
ln -sfn "$(realpath "$3")" "$work/noise"
train() {
  for run; do [ -e "$work/$run/bundle/bundle.json" ] || myna finetune "$work/$run.toml"; done
}
train 1-all 2-blocks
[ -e "$work/2-blocks/english/bundle.json" ] || myna model quantize "$work/2-blocks/bundle" "$work/2-blocks/english" \
  --precision int4 --calibrate "$work/speech/train.jsonl"
train 3-blocks 4-blocks 5-blocks
[ -e "$work/english/bundle.json" ] || myna model quantize "$work/5-blocks/bundle" "$work/english" --precision int8 \
  --card "$here/../myna/models/pretrained/english/MODEL_CARD.md"
myna model generic "$work/english" "$work/speech/train.jsonl"
myna bench calibration "$work/speech/dev.jsonl" --model "$work/english" --write

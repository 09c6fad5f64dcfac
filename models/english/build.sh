#!/bin/sh
# Build the default bundle: build.sh WENET_DIR SPEECH_DIR NOISE_DIR WORK
#   WENET_DIR     WeNet's GigaSpeech U2++ conformer: train.yaml, final.pt, units.txt, global_cmvn (MODEL_CARD.md tells
#                 where the weights come from, and what was learnt again)
#   SPEECH_DIR    holds train.jsonl and dev.jsonl: lines {"audio", "text", "speaker", "corpus"}
#   NOISE_DIR     audio of noise
#   WORK          a new folder, or that of a broken-off build, which goes on; the bundle ends in WORK/english
# Needs the extra `adapt`, 10 GB of memory, and as long as the recipes say, an hour and a half, on two idle cores.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$4"
cp "$here"/*.toml "$4"
ln -sfn "$(realpath "$1")" "$4/wenet"
ln -sfn "$(realpath "$2")" "$4/speech"
ln -sfn "$(realpath "$3")" "$4/noise"
for run in 1-all 2-blocks; do
  [ -e "$4/$run/bundle/bundle.json" ] || myna finetune "$4/$run.toml"
done
myna model quantize "$4/2-blocks/bundle" "$4/english" --precision int4 --calibrate "$4/speech/train.jsonl" \
  --card "$here/../myna/models/pretrained/english/MODEL_CARD.md"
myna bench calibration "$4/speech/dev.jsonl" --model "$4/english" --write

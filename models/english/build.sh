#!/bin/sh
# Build the default bundle: english.sh WENET_DIR SPEECH.jsonl OUT
#   WENET_DIR     WeNet's GigaSpeech U2++ conformer: train.yaml, final.pt, units.txt, global_cmvn (MODEL_CARD.md tells
#                 where the weights come from, and what was learnt again)
#   SPEECH.jsonl  lines {"audio": PATH}, mono at 16 kHz: what the rounding to 4 bits is calibrated on; 200 are heard
# Needs the extra `adapt`, 6 GB of memory and ten minutes. Leaves OUT, and OUT-fp32 beside it.
set -eu
card="$(dirname "$0")/myna/models/pretrained/english/MODEL_CARD.md"
# conv-history: the second convolution was learnt again with zeros before an utterance.
myna model import-wenet "$1" "$3-fp32" --name english --version 1 --language en \
  --licence "GigaSpeech's terms: see MODEL_CARD.md" --card "$card" \
  --chunk-frames 8 --chunk-choices 5,8,12,16 --left-frames 64 --conv-history zeros
myna model quantize "$3-fp32" "$3" --precision int4 --calibrate "$2"

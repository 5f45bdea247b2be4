#!/bin/sh
# The whole tool on generated images: train, evaluate, predict. `make demo` runs it; needs nothing but segkit.
set -eu
SEGKIT="${BIN:+$BIN/}segkit"
OUT=demo
rm -rf "$OUT"

"$SEGKIT" train --dataset phantom -o dataset.cases=80 --time 1m --out "$OUT/run"
"$SEGKIT" evaluate "$OUT/run"
"$SEGKIT" data synth phantom --cases 6 --seed 1 --out "$OUT/new"
"$SEGKIT" predict "$OUT/run" "$OUT/new/images" --out "$OUT/predictions" --overlay

echo
echo "Look at $OUT/predictions/*.overlay.png (the masks drawn over the images),"
echo "$OUT/run/test/cases.csv (the score of every held-out case), $OUT/run/history.csv (the training)."

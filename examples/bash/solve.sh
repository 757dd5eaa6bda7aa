#!/bin/bash
# A program that knows nothing of slurmtune: it integrates y' = -y from 0 to 1 and prints the error.
#   ./solve.sh STEP SCHEME
set -euo pipefail
awk -v h="$1" -v scheme="$2" 'BEGIN {
    n = int(1 / h + 0.5); h = 1 / n; y = 1
    for (i = 0; i < n; i++)
        if (scheme == "euler") y += h * -y
        else { k1 = -y; k2 = -(y + h/2*k1); k3 = -(y + h/2*k2); k4 = -(y + h*k3)
               y += h/6 * (k1 + 2*k2 + 2*k3 + k4) }
    e = y - exp(-1); if (e < 0) e = -e
    printf "finished: %d steps, error=%.3e\n", n, e
}'

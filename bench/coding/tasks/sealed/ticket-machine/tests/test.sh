#!/bin/bash
# Grades the repository in the current folder; the reward goes where Harbor reads it.
tests=$(cd "$(dirname "$0")" && pwd)
logs=${VERIFIER_LOGS:-/logs/verifier}
mkdir -p "$logs"
reward=0
PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1 python3 "$tests/hidden.py" && reward=1
echo "$reward" > "$logs/reward.txt"

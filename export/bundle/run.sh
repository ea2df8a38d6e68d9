#!/bin/sh
# Installs the models of this bundle and what they need into this folder, proves them, and runs them.
# Needs sh and Python 3.10, 3.11 or 3.12. Nothing is downloaded, and nothing is written outside this folder.
set -eu

usage='usage: sh run.sh VERB
  check      compare every file of this folder with SHA256SUMS
  install    make the Python environment, in installed/
  verify     run each model on stored inputs, and compare the outputs with the stored ones
  build      build a TensorRT engine of each ONNX model on this GPU, and verify it
  edgestill  any verb of edgestill: sh run.sh edgestill run models/NAME/NAME.onnx --source 0
  uninstall  remove installed/ and the files of the bundle
PYTHON=/path/of/python sh run.sh install chooses the Python.'

fail() {  # code, what, hint
    printf 'run.sh %s: %s\n  hint: %s\n' "$verb" "$2" "$3" >&2
    exit "$1"
}

find_python() {  # the first Python that the bundle has wheels for; the system's own first: it has JetPack's modules
    wanted='import json, sys; sys.exit("%d.%d" % sys.version_info[:2] not in json.load(open(sys.argv[1]))["wheels"])'
    for python in ${PYTHON:+"$PYTHON"} python3 python3.10 python3.11 python3.12; do
        if "$python" -I -c "$wanted" "$here/bundle.json" 2>/dev/null; then
            return
        fi
    done
    fail 5 "no Python that this bundle has packages for: bundle.json lists them under wheels" \
        "install one, name it as PYTHON=/path/of/python, or write the bundle with --python"
}

verb=${1-}
case $verb in
    check | install | verify | build | edgestill | uninstall) shift ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    *) printf '%s\n' "$usage" >&2; exit 2 ;;
esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
installed=$here/installed
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP

case $verb in
    check | install | uninstall)
        find_python
        exec "$python" -I -B "$here/install.py" "$verb" "$@"
        ;;
esac

[ -e "$installed/complete.json" ] || fail 5 "this bundle is not installed" "sh $0 install"
# What edgestill and CUDA keep for a user stays in this folder.
export XDG_CACHE_HOME="$installed/cache" XDG_DATA_HOME="$installed/data" CUDA_CACHE_PATH="$installed/cache/cuda"
export PYTHONNOUSERSITE=1
case $verb in
    edgestill) exec "$installed/venv/bin/python" -I -m edgestill "$@" ;;
    *) exec "$installed/venv/bin/python" -I -m edgestill.cli.bundled_models "$verb" "$here" "$@" ;;
esac

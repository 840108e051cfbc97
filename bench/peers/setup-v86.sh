#!/bin/sh
# Installs the v86 release that the benchmark is pinned to, into node_modules beside this script (not kept in git).
set -e
cd "$(dirname "$0")"
npm install --no-save --no-package-lock --no-audit --no-fund "v86@${V86_VERSION:-0.5.462}"

#!/usr/bin/env bash
# Installs what server.mjs needs, exactly as locked; does nothing when that is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

command -v npm >/dev/null || { echo "install.sh: npm is missing: install Node.js 18 or newer with npm" >&2; exit 1; }
if cmp -s package-lock.json node_modules/.installed-lock; then
  exit 0
fi
npm ci --no-audit --no-fund
cp package-lock.json node_modules/.installed-lock

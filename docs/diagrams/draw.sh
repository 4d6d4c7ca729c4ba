#!/usr/bin/env bash
# Draws every .dot file of this folder as SVG, and notes the digest of its source in it, by which a test sees an outdated picture.
set -euo pipefail
cd "$(dirname "$0")"
command -v dot >/dev/null || { echo "Graphviz is missing. On Debian and Ubuntu: apt-get install graphviz" >&2; exit 2; }
for source in *.dot; do
  { dot -Tsvg "$source"; echo "<!-- source sha256: $(sha256sum "$source" | cut -d' ' -f1) -->"; } > "${source%.dot}.svg"
  echo "docs/diagrams/${source%.dot}.svg"
done

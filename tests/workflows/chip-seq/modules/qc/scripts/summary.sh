#!/usr/bin/env bash
set -euo pipefail
for file in "${snakemake_input[@]}"; do
    cksum "$file"
done > "${snakemake_output[0]}"
echo "limit ${snakemake_config[limit]:-none}, rule ${snakemake[rule]}" >> "${snakemake_output[0]}"

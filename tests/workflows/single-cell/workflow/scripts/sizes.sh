#!/usr/bin/env bash
wc -c "${snakemake_input[@]}" > "${snakemake_output[0]}"
echo "${snakemake_params[plates]} ${snakemake[threads]}" >> "${snakemake_output[0]}"

from pathlib import Path

numerator, denominator = snakemake.params.contrast
text = f"{numerator}\t{denominator}\t{snakemake.params['total']}\t{snakemake.threads}\t{snakemake.rule}\n"
Path(snakemake.output.table).write_text(text + Path(snakemake.input[0]).read_text())
Path(snakemake.output["ma_plot"]).write_text(f"<svg>{snakemake.config['diffexp']['model']}</svg>\n")
Path(snakemake.log[0]).write_text("done\n")

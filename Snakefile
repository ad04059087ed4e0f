# `snakemake --cores all` from the project's root. The default target must be named here: one that an included
# file sets is forgotten when the include returns.
include: "workflow/Snakefile"


workflow.default_target = "all"

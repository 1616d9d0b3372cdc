# Completion scripts for three shells, from the option table; those whose shell is here must parse.
for shell in bash zsh fish; do
  mlquantize --completions $shell >$shell
  if command -v $shell >/dev/null; then $shell -n $shell; fi
  for option in float16 linear palettize prune config rule group vector channel-scale table verify batch max-drop target-size activations calibrate observer decompress mode granularity only skip min-elements target report threads identity output; do
    grep -q -e "$option" $shell || echo "$shell: no $option"
  done
done

# needs: mlinspect
# Different methods in one model: rules, and configuration files of coremltools.
. "$HERE/model.inc"
program ios18 fp16 >m.mil
forms() { mlquantize "$@" -o out.mlpackage --report - m.mil | awk -F '"' '/"name"/ { name = $4 } /"(form|reason)"/ { print name ": " $4 }'; }
echo == rules
forms --linear int8 --rule 'palettize=4,group=10@second' --rule none@w1
forms --rule 'prune=0.5,linear=int4,granularity=block:25@first'
cat >c.yaml <<'END'
# two kinds of ops, one name
config_type: OpLinearQuantizerConfig
global_config: {mode: linear, dtype: uint8, weight_threshold: 50}
op_type_configs:
  conv: null
op_name_configs:
  second:
    config_type: OpPalettizerConfig
    nbits: 2
    cluster_dim: 2
END
echo == yaml
forms --config c.yaml
echo == rules come before the file
forms --config c.yaml --rule none@third
echo '{"config_type": "OpMagnitudePrunerConfig", "global_config": {"target_sparsity": 0.75}, "op_type_configs": {"matmul": {"target_sparsity": 0.5}}}' >c.json
echo == json
forms --config c.json
forms --config - <c.json
echo == refused
bad() { printf '%s\n' "$1" >bad.yaml; mlquantize --config bad.yaml -o none.mlpackage m.mil || echo $?; }
bad 'config_type: OpLinearQuantizerConfig
global_config: {dtype: int16}'
bad 'config_type: OpPalettizerConfig
global_config: {mode: kmeans}'
bad 'config_type: OpPalettizerConfig
global_config:
	nbits: 4'
bad 'config_type: OpPalettizerConfig
speed: 4'
mlquantize --config c.yaml --linear int8 -o none.mlpackage m.mil || echo $?
mlquantize --rule int8@x -o none.mlpackage m.mil || echo $?
mlquantize --config missing.yaml -o none.mlpackage m.mil || echo $?
ls -d none* 2>/dev/null || true

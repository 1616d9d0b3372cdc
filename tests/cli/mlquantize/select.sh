# Weights by their own name, by their op's, and by size.
. "$HERE/model.inc"
program ios16 fp16 >m.mil
changed() {
  mlquantize --linear int8 "$@" -o out.mlpackage --report - m.mil 2>/dev/null |
    awk -F '"' '/"name"/ { name = $4 } /"changed": true/ { printf "%s ", name } /"reason"/ { printf "(%s: %s) ", name, $4 } END { print "" }'
}
changed
changed --min-elements 99
changed --min-elements 100
changed --only first --only '^w3$' --min-elements 0
changed --skip 'w[12]' --min-elements 0
changed --only 'w.' --skip second --min-elements 0
changed --only nothing

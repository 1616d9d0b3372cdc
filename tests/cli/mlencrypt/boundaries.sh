# Cut at every boundary of the 64 KiB chunks and one byte beside it: each cut is named, exit status 6, and no file appears.
mlencrypt keygen -o key.txt 2>/dev/null | sed 's/.*: *//' >recipient.txt
for size in 0 1 65535 65536 65537 131072 300000; do
  head -c $size /dev/zero | tr '\0' 'm' >plain
  mlencrypt -R recipient.txt -o sealed plain
  mlencrypt -d -i key.txt -o again sealed
  cmp plain again
  rm again
  whole=$(stat -c %s sealed)
  # After the header: a nonce of 16 bytes, then chunks of 64 KiB and 16 bytes each, the last one shorter.
  chunks=$(((size + 65535) / 65536))
  [ $chunks != 0 ] || chunks=1
  payload=$((whole - size - 16 * chunks - 16))
  cuts=0
  for at in 0 1 $((payload - 1)) $payload $((payload + 1)) $((payload + 15)) $((payload + 16)) $((payload + 17)) \
    $(for i in $(seq 1 $chunks); do echo $((payload + 16 + i * 65552 - 1)) $((payload + 16 + i * 65552)) $((payload + 16 + i * 65552 + 1)); done) $((whole - 1)); do
    [ $at -lt $whole ] || continue
    head -c $at sealed >cut
    for way in file pipe; do
      status=0
      if [ $way = file ]; then
        mlencrypt -d -i key.txt -o out cut 2>error || status=$?
      else
        mlencrypt -d -i key.txt -o out <cut 2>error || status=$?
      fi
      [ $status = 6 ] || [ $at -lt $payload -a $status = 3 ] || echo "size $size, cut at $at of $whole ($way): status $status, $(cat error)"
      [ -s error ] || echo "size $size, cut at $at: no message"
      [ ! -e out ] || echo "size $size, cut at $at: a file appeared"
      cuts=$((cuts + 1))
    done
  done
  # One byte too many is noticed, too.
  { cat sealed; printf x; } >long
  status=0
  mlencrypt -d -i key.txt -o out long 2>/dev/null || status=$?
  [ $status = 6 ] && [ ! -e out ] || echo "size $size: a byte too many, status $status"
  echo "$size bytes: $cuts cuts"
done
ls

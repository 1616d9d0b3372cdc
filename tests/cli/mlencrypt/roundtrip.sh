# Files, pipes and both; sizes around the edges of chunks.
umask 077
R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
echo AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX >key
for size in 0 1 65535 65536 65537 131072 2097151 2097152 2097153 5000000; do
  yes 0123456789 | head -c $size >m || true
  mlencrypt -r $R -o m.age m
  mlencrypt -d -i key -o back m.age
  cmp m back
  mlencrypt -r $R <m | mlencrypt -d -i key | cmp - m
  mlencrypt -r $R -a - <m >armored
  mlencrypt -d -i key armored -o - | cmp - m
  # 64 KiB chunks with a tag of 16 bytes each, after a header of 168 bytes and a nonce of 16.
  chunks=$(((size + 65535) / 65536))
  [ $chunks != 0 ] || chunks=1
  [ "$(stat -c %s m.age)" = $((168 + 16 + size + 16 * chunks)) ]
done
head -n 1 armored
tail -n 1 armored
awk 'length > 64' armored

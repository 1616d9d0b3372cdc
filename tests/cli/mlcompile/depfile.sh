# A Makefile rule that names what was read.
mkdir 'a dir'
echo 'program(1.0) { func main<ios16>(fp16 x) { fp16 y = relu(x = x); } -> (y); }' >'a dir/m#1.mil'
mlcompile --depfile m.d -o 'out $1.mlarchive' 'a dir/m#1.mil'
cat m.d
mkdir plain
cp 'a dir/m#1.mil' plain/m.mil
mlcompile --depfile plain.d -o plain.mlarchive plain/m.mil
# make understands it.
if command -v make >/dev/null; then
  { echo 'all: plain.mlarchive'; cat plain.d; echo 'plain.mlarchive: ; @echo stale'; } >Makefile
  touch -d '2001-01-01' plain.mlarchive
  make -s all
else
  echo stale
fi

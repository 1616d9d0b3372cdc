# Wrong usage: exit 2. Foreseen but absent: exit 4.
try() { mlinspect "$@" || echo "$?"; }
echo 'program(1.3) { func main<ios18>(fp32 x) { fp32 y = relu(x = x); } -> (y); }' >m.mil
try
try m.mil m.mil
try --ops --mil m.mil
try --mil --json m.mil
try --metadata --json m.mil
try --weight w m.mil
try --no-such m.mil
try --diff m.mil m.mil
try --graph dot --html f --lint m.mil
try -o m.mil m.mil

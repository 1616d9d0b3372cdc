echo 'program(1.0) { func main<ios15>(fp32 x) { fp32 y = relu(x = x); } -> (y); }' >m.mil
try() {
  status=0
  mlcompile "$@" || status=$?
  echo "$status"
}
try --generate objc -o - m.mil
try --generate swift -o m.txt m.mil
try --generate pascal -o m.pas m.mil
try --generate swift --class 'two words' -o - m.mil
try --generate c++ --public-access -o - m.mil
try --generate c++ --archive -o m.hpp m.mil
try --class Name -o m.mlmodelc m.mil
try --generate c++ -o .hpp m.mil
# A model that describes nothing.
printf '\x08\x01\x12\x00\xa2\x38\x00' >identity.mlmodel
try --generate swift -o - identity.mlmodel
try --generate swift -o - missing.mlmodel
ls

# Classic learners from their own files; a pickle that would run code is refused by name, unknown classes are named.
cp "$TESTDATA"/learners/* .
try() { mlconvert "$@" || echo "$?"; }
for model in tree.pickle0 logistic.pickle2 pipeline.zlib.joblib xgboost.ubj gblinear.json lightgbm.txt libsvm.model; do
  mlconvert -o m.mlmodel "$model"
  echo "$model: $(mlpredict m.mlmodel input='[0.5, -1, 3]' --outputs -)"
done
mlconvert --feature-names a,b,c --output-name size -o m.mlmodel "forest.joblib"
mlpredict m.mlmodel a=0.5 b=-1 c=3
mlconvert -o - "forest.joblib" | mlpredict - input='[0.5, -1, 3]'
try --check "bayes.pickle"
try -o m.mlmodel "runs.pickle"
printf 'ccopy_reg\n_reconstructor\n(cmine\nEstimator\nc__builtin__\nobject\nNtR.' >own.pickle
try -o m.mlmodel own.pickle
try --check own.pickle
head -c 500 "forest.joblib" >cut.joblib
try -o m.mlmodel cut.joblib
try --feature-names a,b -o m.mlmodel "forest.joblib"
try --precision float16 -o m.mlmodel "forest.joblib"
try --target iOS11 -o m.mlmodel "neighbors.pickle"
try -o m.mil "forest.joblib"

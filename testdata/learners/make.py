"""Writes the small models of this folder, with what their libraries predict for four rows (rows.json). Run where
scikit-learn, xgboost, lightgbm and libsvm-official are installed; nothing else needs it."""
import json
import pickle

import joblib
import lightgbm as lgb
import numpy as np
import xgboost as xgb
from libsvm import svmutil
from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree

rng = np.random.default_rng(3)
X = np.round(rng.normal(size=(60, 3)), 3)
X[:, 2] = rng.integers(0, 5, 60)
y = ((X[:, 0] + (X[:, 2] == 3) - (X[:, 2] == 1)) > 0).astype(int)
y3 = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
yr = X[:, 0] * 2 + X[:, 1] + X[:, 2]
rows = X[:4]
out = {"rows": rows.tolist(), "models": {}}


def keep(name, label=None, probabilities=None, value=None):
    entry = {}
    if label is not None:
        entry["label"] = [v.item() if hasattr(v, "item") else v for v in label]
    if probabilities is not None:
        entry["probabilities"] = np.asarray(probabilities).tolist()
    if value is not None:
        entry["value"] = np.asarray(value).reshape(len(rows), -1).tolist()
    out["models"][name] = entry


def sk(name, model, target, kind, protocol=4):
    model.fit(X, target)
    if name.endswith(".joblib"):
        joblib.dump(model, name, compress=("zlib", 9) if "zlib" in name else 0)
    else:
        with open(name, "wb") as f:
            pickle.dump(model, f, protocol=protocol)
    if kind == "classify":
        keep(name, model.predict(rows), model.predict_proba(rows))
    elif kind == "label":
        keep(name, model.predict(rows))
    elif kind == "transform":
        keep(name, value=model.transform(rows))
    else:
        keep(name, value=model.predict(rows))


sk("tree.pickle0", tree.DecisionTreeClassifier(max_depth=3, random_state=1), y3, "classify", 0)
sk("logistic.pickle2", linear_model.LogisticRegression(), y3, "classify", 2)
sk("histogram.pickle5", ensemble.HistGradientBoostingRegressor(max_iter=3, max_leaf_nodes=5, categorical_features=[2], random_state=1), yr, "value", 5)
sk("forest.joblib", ensemble.RandomForestRegressor(3, max_depth=3, random_state=1), yr, "value")
sk("pipeline.zlib.joblib", pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC(gamma=0.5)), y3, "label")
sk("perceptron.pickle", neural_network.MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=20, random_state=1), yr, "value")
sk("neighbors.pickle", neighbors.KNeighborsClassifier(3), y, "classify")
sk("bayes.pickle", naive_bayes.GaussianNB(), y3, "classify")
sk("onehot.pickle", preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False), np.round(yr), "transform")
d = xgb.DMatrix(X, label=y, feature_types=["float", "float", "c"], enable_categorical=True)
b = xgb.train({"objective": "binary:logistic", "max_depth": 3, "max_cat_to_onehot": 1, "tree_method": "hist"}, d, 3)
p = b.predict(xgb.DMatrix(rows, feature_types=["float", "float", "c"], enable_categorical=True))
for name in ("xgboost.json", "xgboost.ubj"):
    b.save_model(name)
    keep(name, (p > 0.5).astype(int), np.stack([1 - p, p], 1))
b = xgb.train({"objective": "reg:squarederror", "booster": "gblinear"}, xgb.DMatrix(X, label=yr), 5)
b.save_model("gblinear.json")
keep("gblinear.json", value=b.predict(xgb.DMatrix(rows)))
b = lgb.train({"objective": "multiclass", "num_class": 3, "min_data_in_leaf": 3, "num_leaves": 4, "min_data_per_group": 1, "cat_smooth": 1, "verbose": -1},
              lgb.Dataset(X, label=np.searchsorted(["a", "b", "c"], y3), categorical_feature=[2]), 2)
b.save_model("lightgbm.txt")
with open("lightgbm.json", "w") as f:
    json.dump(b.dump_model(), f)
for name in ("lightgbm.txt", "lightgbm.json"):
    keep(name, b.predict(rows).argmax(1), b.predict(rows))
m = svmutil.svm_train(y.tolist(), [{j + 1: float(v) for j, v in enumerate(r)} for r in X], "-t 2 -g 0.3 -q")
svmutil.svm_save_model("libsvm.model", m)
keep("libsvm.model", [int(v) for v in svmutil.svm_predict([], [{j + 1: float(v) for j, v in enumerate(r)} for r in rows], m, "-q")[0]])


class Runs:
    def __reduce__(self):
        import os

        return os.system, ("id",)


with open("runs.pickle", "wb") as f:
    pickle.dump(Runs(), f, protocol=2)
with open("rows.json", "w") as f:
    json.dump(out, f)

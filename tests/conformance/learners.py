"""Today's scikit-learn, XGBoost, LightGBM and LIBSVM against mlconvert and mlpredict; see scripts/conformance-learners.

Labels must be equal, probabilities within 1e-5, other numbers within 1e-5 of their size (the largest of the column for
those near zero).
"""
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import warnings

import joblib
import numpy as np
import sklearn

warnings.filterwarnings("ignore")
BIN, ONLY = sys.argv[1], sys.argv[2:]
ROWS = 500
WORK = tempfile.mkdtemp(prefix="learners.")
rng = np.random.default_rng(7)
results = []

# Data: floats that float32 cannot hold, correlated with the targets; classes as ints and as text; gaps; categories.
N = 900
X = rng.normal(size=(N, 8)) * [1, 2, 0.5, 10, 1, 3, 1, 0.1] + [0, 1, 0, 5, 0, 0, -2, 0]
score = X[:, 0] + 0.4 * X[:, 1] - 0.1 * X[:, 3] + X[:, 4] * X[:, 6] * 0.3 + rng.normal(size=N) * 0.3
y2 = (score > 0).astype(int)
y3 = np.array([10, 20, 35])[np.digitize(score, [-0.8, 0.8])]
t3 = np.array(["low", "mid", "high"])[np.digitize(score, [-0.8, 0.8])]
yr = score * 3 + 0.5 * X[:, 1] ** 2
y_pos = np.exp(score / 3)
y_multi = np.stack([yr, score - X[:, 2]], axis=1)
X_gaps = X.copy()
X_gaps[rng.random(X.shape) < 0.08] = np.nan
X_cat = X.copy()
X_cat[:, 2] = rng.integers(0, 12, N)
X_cat[:, 5] = rng.integers(0, 5, N)
X_cat[:, 7] = rng.integers(0, 3, N)
y_cat = ((X_cat[:, 2].astype(int) * 7 % 5 > 1) ^ (X_cat[:, 5] > 2)).astype(int)
yr_cat = score + np.array([3, -1, 0, 2, 5, -4, 1, 0, 2, -2, 7, 1])[X_cat[:, 2].astype(int)]
X_cat_gaps = X_cat.copy()
X_cat_gaps[rng.random(X.shape) < 0.06] = np.nan
X_count = rng.poisson(2.0, size=(N, 8)).astype(float)
TRAIN = slice(0, N - ROWS)
TEST = slice(N - ROWS, N)


def tool(name, *args):
    done = subprocess.run([os.path.join(BIN, name), *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: exit {done.returncode}: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else ''}")
    return done.stdout


def predict(path, rows, options):
    """Converts a file, checks it, and predicts rows (an array, or a list of dictionaries)."""
    model = os.path.join(WORK, "m.mlmodel")
    tool("mlconvert", *options, "-o", model, path)
    tool("mlinspect", "--validate", model)
    if isinstance(rows, list) and any(isinstance(v, str) for v in rows[0].values()):
        inputs = os.path.join(WORK, "x.csv")
        with open(inputs, "w") as f:
            f.write(",".join(rows[0]) + "\n")
            for row in rows:
                f.write(",".join(repr(float(v)) if isinstance(v, float) else str(v) for v in row.values()) + "\n")
        args = ["--inputs", inputs]
    elif isinstance(rows, list):
        inputs = os.path.join(WORK, "x.jsonl")
        with open(inputs, "w") as f:
            for row in rows:
                f.write(json.dumps(row) + "\n")
        args = ["--inputs", inputs]
    else:
        inputs = os.path.join(WORK, "x.npz")
        np.savez(inputs, input=np.asarray(rows, dtype=np.float64))
        args = ["--inputs", inputs, "--batch"]
    out = tool("mlpredict", model, *args, "--outputs", "-")
    return [json.loads(line) for line in out.splitlines()]


def numbers(value):
    if isinstance(value, dict):
        value = value["data"] if "data" in value else list(value.values())
    return np.asarray(value, dtype=np.float64).reshape(-1)


def compare(records, expected, classes=None):
    """Worst differences: (wrong labels, worst probability, worst relative difference)."""
    wrong, worst_p, worst_v = 0, 0.0, 0.0
    for i, r in enumerate(records):
        if "label" in expected:
            label = expected["label"][i]
            label = label.item() if hasattr(label, "item") else label
            if isinstance(label, (bool, float)):
                label = int(label)
            if r["classLabel"] != label:
                wrong += 1
        if "probabilities" in expected:
            p = np.array([r["classProbability"][str(c.item() if hasattr(c, "item") else c)] for c in classes])
            worst_p = max(worst_p, float(np.max(np.abs(p - expected["probabilities"][i]))))
    for key in ("prediction", "transformed_features"):
        if key in expected:
            want = np.asarray(expected[key], dtype=np.float64).reshape(len(records), -1)
            got = np.stack([numbers(r[key]) for r in records])
            if got.shape != want.shape:
                raise RuntimeError(f"shape {got.shape} instead of {want.shape}")
            if np.any(np.isnan(got) != np.isnan(want)):
                raise RuntimeError("NaN where a number is expected, or a number where NaN is")
            size = np.maximum(np.abs(want), 0.01 * np.nanmax(np.abs(want), axis=0, keepdims=True) + 1e-30)
            worst_v = max(worst_v, float(np.nanmax(np.abs(got - want) / size)))
    return wrong, worst_p, worst_v


def report(name, how, run, p_tolerance=1e-5):
    if ONLY and not any(part in name for part in ONLY):
        return
    try:
        wrong, p, v = run()
        good = wrong == 0 and p <= p_tolerance and v <= 1e-5
        results.append((name, how, "ok" if good else "DIFFERS", wrong, p, v, ""))
    except Exception as e:  # noqa: BLE001: every case is reported
        results.append((name, how, "FAILED", 0, 0, 0, str(e)[:200]))
    r = results[-1]
    print(f"{r[2]:8} {name:58} {r[3]:4} {r[4]:9.1e} {r[5]:9.1e}  {r[6]}", flush=True)


def expected_of(model, rows, kind):
    if kind == "classify":
        return {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
    if kind == "label":
        return {"label": model.predict(rows)}
    if kind == "transform":
        out = model.transform(rows)
        return {"transformed_features": out.toarray() if hasattr(out, "toarray") else out}
    return {"prediction": model.predict(rows)}


def learner(name, model, x, y, kind, how="pickle", options=(), rows=None, fit=None, p_tolerance=1e-5):
    def run():
        fitted = model
        if fit:
            fit(fitted)
        elif y is None:
            fitted.fit(x[TRAIN])
        else:
            fitted.fit(x[TRAIN], y[TRAIN])
        path = os.path.join(WORK, "m.pkl")
        if how == "pickle":
            with open(path, "wb") as f:
                pickle.dump(fitted, f)
        elif how.startswith("pickle "):
            with open(path, "wb") as f:
                pickle.dump(fitted, f, protocol=int(how[-1]))
        elif how == "joblib":
            joblib.dump(fitted, path)
        else:
            joblib.dump(fitted, path, compress=(how.split()[1], 3))
        test = x[TEST] if rows is None else rows
        want = expected_of(fitted, x[TEST], kind)
        return compare(predict(path, test, options), want, getattr(fitted, "classes_", None))

    report(name, how, run, p_tolerance)


def sklearn_cases():
    from sklearn import calibration, compose, cross_decomposition, decomposition, discriminant_analysis, ensemble, feature_extraction, feature_selection  # noqa: F401
    from sklearn import impute, linear_model, multioutput, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree

    lm, pp = linear_model, preprocessing
    # Trees.
    learner("DecisionTreeClassifier, 3 text classes", tree.DecisionTreeClassifier(random_state=1), X, t3, "classify")
    learner("DecisionTreeClassifier, gaps", tree.DecisionTreeClassifier(random_state=1, max_depth=6), X_gaps, y3, "classify", "pickle 2")
    learner("DecisionTreeRegressor", tree.DecisionTreeRegressor(random_state=1), X, yr, "value", "joblib")
    learner("DecisionTreeRegressor, 2 targets", tree.DecisionTreeRegressor(random_state=1), X, y_multi, "value")
    learner("ExtraTreeClassifier", tree.ExtraTreeClassifier(random_state=1), X, y2, "classify")
    learner("RandomForestClassifier", ensemble.RandomForestClassifier(40, random_state=1, max_depth=9), X, y3, "classify", "joblib")
    learner("RandomForestClassifier, gaps", ensemble.RandomForestClassifier(25, random_state=1, max_depth=9), X_gaps, y2, "classify", "joblib gzip")
    learner("RandomForestRegressor", ensemble.RandomForestRegressor(40, random_state=1), X, yr, "value", "joblib zlib")
    learner("ExtraTreesClassifier", ensemble.ExtraTreesClassifier(40, random_state=1, max_depth=9), X, t3, "classify", "joblib xz")
    learner("ExtraTreesRegressor", ensemble.ExtraTreesRegressor(40, random_state=1), X, yr, "value", "joblib lzma")
    learner("BaggingClassifier", ensemble.BaggingClassifier(n_estimators=15, max_features=0.6, random_state=1), X, t3, "classify")
    learner("BaggingRegressor", ensemble.BaggingRegressor(n_estimators=15, max_features=0.6, random_state=1), X, yr, "value")
    learner("AdaBoostClassifier, 2 classes", ensemble.AdaBoostClassifier(n_estimators=30, random_state=1), X, y2, "classify")
    learner("AdaBoostClassifier, 3 classes", ensemble.AdaBoostClassifier(tree.DecisionTreeClassifier(max_depth=3), n_estimators=30, random_state=1), X, y3, "classify")
    # Boosting.
    learner("GradientBoostingClassifier, 2 classes", ensemble.GradientBoostingClassifier(random_state=1), X, y2, "classify")
    learner("GradientBoostingClassifier, exponential", ensemble.GradientBoostingClassifier(loss="exponential", random_state=1), X, y2, "classify", "pickle 3")
    learner("GradientBoostingClassifier, 3 classes", ensemble.GradientBoostingClassifier(n_estimators=40, random_state=1), X, t3, "classify", "joblib")
    for loss in ("squared_error", "huber", "quantile", "absolute_error"):
        learner(f"GradientBoostingRegressor, {loss}", ensemble.GradientBoostingRegressor(loss=loss, n_estimators=50, random_state=1), X, yr, "value")
    H, HR = ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor
    learner("HistGradientBoostingClassifier, gaps", H(max_iter=50, random_state=1), X_gaps, y2, "classify", "joblib")
    learner("HistGradientBoostingClassifier, 3 classes", H(max_iter=30, random_state=1), X, t3, "classify")
    learner("HistGradientBoostingClassifier, categories", H(max_iter=40, categorical_features=[2, 5, 7], random_state=1), X_cat, y_cat, "classify")
    learner("HistGradientBoostingClassifier, categories and gaps", H(max_iter=40, categorical_features=[2, 5], random_state=1), X_cat_gaps, y_cat, "classify")
    for loss, target in (("squared_error", yr), ("absolute_error", yr), ("poisson", y_pos), ("gamma", y_pos)):
        learner(f"HistGradientBoostingRegressor, {loss}", HR(loss=loss, max_iter=40, random_state=1), X_gaps, target, "value")
    learner("HistGradientBoostingRegressor, categories", HR(max_iter=40, categorical_features=[2, 5, 7], random_state=1), X_cat_gaps, yr_cat, "value")
    # Linear models.
    for model in (lm.LinearRegression(), lm.Ridge(), lm.RidgeCV(), lm.Lasso(0.01), lm.LassoCV(), lm.ElasticNet(0.01), lm.BayesianRidge(), lm.HuberRegressor(), lm.SGDRegressor(random_state=1),
                  lm.Lars(), lm.LassoLars(0.01), lm.OrthogonalMatchingPursuit(), lm.TheilSenRegressor(random_state=1), lm.ARDRegression(), svm.LinearSVR(), lm.QuantileRegressor(alpha=0.01)):
        scaled = pp.StandardScaler().fit_transform(X)
        learner(type(model).__name__, model, scaled, yr, "value")
    learner("LinearRegression, 2 targets", lm.LinearRegression(), X, y_multi, "value", "joblib")
    learner("MultiTaskLasso", lm.MultiTaskLasso(0.01), X, y_multi, "value")
    learner("RANSACRegressor", lm.RANSACRegressor(random_state=1), X, yr, "value")
    learner("PoissonRegressor", lm.PoissonRegressor(), X / 10, y_pos, "value")
    learner("GammaRegressor", lm.GammaRegressor(), X / 10, y_pos, "value")
    learner("TweedieRegressor", lm.TweedieRegressor(power=1.5), X / 10, y_pos, "value")
    learner("PLSRegression", cross_decomposition.PLSRegression(3), X, y_multi, "value")
    learner("LogisticRegression, 2 classes", lm.LogisticRegression(max_iter=2000), X, y2, "classify")
    learner("LogisticRegression, 3 classes", lm.LogisticRegression(max_iter=2000), X, t3, "classify", "pickle 4")
    learner("LogisticRegression, liblinear", lm.LogisticRegression(solver="liblinear"), X, y2, "classify")
    learner("LogisticRegressionCV", lm.LogisticRegressionCV(max_iter=2000, cv=3, Cs=3), X, y3, "classify")
    learner("SGDClassifier, log_loss", lm.SGDClassifier(loss="log_loss", random_state=1), X, t3, "classify")
    learner("SGDClassifier, hinge", lm.SGDClassifier(random_state=1), X, t3, "label")
    learner("LinearSVC", svm.LinearSVC(), X, t3, "label")
    learner("LinearSVC, 2 classes", svm.LinearSVC(), X, y2, "label")
    learner("RidgeClassifier", lm.RidgeClassifier(), X, y3, "label")
    learner("Perceptron", lm.Perceptron(), X, t3, "label")
    learner("PassiveAggressiveClassifier", lm.PassiveAggressiveClassifier(random_state=1), X, y2, "label")
    learner("LinearDiscriminantAnalysis", discriminant_analysis.LinearDiscriminantAnalysis(), X, t3, "classify")
    learner("QuadraticDiscriminantAnalysis", discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1), X, t3, "classify")
    learner("NearestCentroid", neighbors.NearestCentroid(), X, t3, "label")
    # Support vectors.
    for kernel in ("linear", "rbf", "poly", "sigmoid"):
        learner(f"SVC, {kernel}", svm.SVC(kernel=kernel, gamma=0.05 if kernel != "poly" else "scale"), pp.StandardScaler().fit_transform(X), t3, "label")
    # scikit-learn's copy of LIBSVM couples two classes by an iteration that stops within 0.0025 a class; LIBSVM of 2019 and
    # Core ML take the one sigmoid as it is.
    learner("SVC, probabilities, 2 classes (within 0.005)", svm.SVC(probability=True, random_state=1), X, y2, "classify", p_tolerance=5e-3)
    learner("SVC, probabilities, 3 classes", svm.SVC(probability=True, random_state=1), X, t3, "classify")
    learner("NuSVC", svm.NuSVC(nu=0.3), X, y3, "label")
    learner("SVR", svm.SVR(), X, yr, "value")
    learner("NuSVR, poly", svm.NuSVR(kernel="poly", degree=2, coef0=1), X, yr, "value", "joblib")
    learner("OneClassSVM", svm.OneClassSVM(nu=0.3, gamma=0.05), X, None, "label")
    # Neighbours: samples are float32 in Core ML.
    xf = X.astype(np.float32).astype(np.float64)
    learner("KNeighborsClassifier", neighbors.KNeighborsClassifier(5), xf, t3, "classify")
    learner("KNeighborsClassifier, distance", neighbors.KNeighborsClassifier(7, weights="distance"), xf, y3, "classify")
    learner("KNeighborsClassifier, manhattan", neighbors.KNeighborsClassifier(5, p=1), xf, y3, "classify")
    learner("KNeighborsRegressor", neighbors.KNeighborsRegressor(5), xf, yr, "value")
    learner("KNeighborsRegressor, distance, 2 targets", neighbors.KNeighborsRegressor(4, weights="distance"), xf, y_multi, "value")
    # Bayes, networks.
    learner("GaussianNB", naive_bayes.GaussianNB(), X, t3, "classify")
    learner("BernoulliNB", naive_bayes.BernoulliNB(binarize=0.2), X, t3, "classify")
    learner("MultinomialNB", naive_bayes.MultinomialNB(), X_count, t3, "classify")
    learner("ComplementNB", naive_bayes.ComplementNB(), X_count, y3, "classify")
    learner("CategoricalNB", naive_bayes.CategoricalNB(min_categories=14), np.minimum(X_count, 13), y2, "classify")
    for activation in ("relu", "tanh", "logistic", "identity"):
        learner(f"MLPClassifier, {activation}", neural_network.MLPClassifier((12, 7), activation=activation, max_iter=60, random_state=1), X, t3, "classify")
    learner("MLPClassifier, 2 classes", neural_network.MLPClassifier((9,), max_iter=60, random_state=1), X, y2, "classify")
    learner("MLPRegressor", neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=80, random_state=1), X, yr, "value")
    learner("MLPRegressor, 2 targets", neural_network.MLPRegressor(hidden_layer_sizes=(16,), activation="tanh", max_iter=80, random_state=1), X, y_multi, "value")
    # Transformers.
    for model in (pp.StandardScaler(), pp.MinMaxScaler(), pp.MinMaxScaler(clip=True), pp.MaxAbsScaler(), pp.RobustScaler(), pp.Normalizer("l1"), pp.Normalizer("l2"), pp.Normalizer("max"),
                  pp.Binarizer(threshold=0.3), pp.PolynomialFeatures(2), pp.PolynomialFeatures(3, interaction_only=True, include_bias=False), pp.KBinsDiscretizer(4, encode="ordinal"),
                  pp.KBinsDiscretizer(4, encode="onehot-dense"), decomposition.PCA(4), decomposition.PCA(4, whiten=True), decomposition.TruncatedSVD(3), decomposition.FastICA(3, random_state=1, whiten="unit-variance"),
                  feature_selection.VarianceThreshold(0.5)):
        learner(repr(model).replace("\n", " ")[:58], model, X, None, "transform")
    learner("SelectKBest", feature_selection.SelectKBest(k=3), X, y2, "transform")
    learner("SimpleImputer", impute.SimpleImputer(), X_gaps, None, "transform")
    learner("SimpleImputer, median, indicator", impute.SimpleImputer(strategy="median", add_indicator=True), X_gaps, None, "transform")
    learner("OneHotEncoder of numbers", pp.OneHotEncoder(handle_unknown="ignore"), X_cat[:, [2, 5, 7]], None, "transform")
    learner("OneHotEncoder, drop, infrequent", pp.OneHotEncoder(drop="first", min_frequency=30, handle_unknown="infrequent_if_exist"), X_cat[:, [2, 5, 7]], None, "transform")
    learner("OrdinalEncoder of numbers, gaps", pp.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), X_cat_gaps[:, [2, 5, 7]], None, "transform")
    words = [{w: float(c) for w, c in zip("abcdefgh", row) if c} for row in X_count]
    learner("DictVectorizer", feature_extraction.DictVectorizer(), words, None, "transform", rows=[{"input": w} for w in words[TEST]])
    # Put together.
    make = pipeline.make_pipeline
    learner("Pipeline: scaler, PCA, LogisticRegression", make(pp.StandardScaler(), decomposition.PCA(5), lm.LogisticRegression()), X, t3, "classify")
    learner("Pipeline: imputer, scaler, SVC", make(impute.SimpleImputer(), pp.StandardScaler(), svm.SVC(gamma=0.1)), X_gaps, t3, "label")
    learner("Pipeline: scaler, MLPRegressor", make(pp.StandardScaler(), neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=1)), X, yr, "value", "joblib")
    learner("Pipeline: polynomials, Ridge", make(pp.StandardScaler(), pp.PolynomialFeatures(2), lm.Ridge()), X, yr, "value")
    learner("FeatureUnion", make(pipeline.FeatureUnion([("pca", decomposition.PCA(2)), ("scale", pp.StandardScaler())]), lm.Ridge()), X, yr, "value")
    learner("ColumnTransformer of numbers", make(compose.ColumnTransformer([("n", pp.StandardScaler(), [0, 1, 3, 4, 6]), ("c", pp.OneHotEncoder(handle_unknown="ignore"), [2, 5])], remainder="passthrough"),
                                                 ensemble.RandomForestClassifier(20, random_state=1)), X_cat, y_cat, "classify")
    learner("MultiOutputRegressor", multioutput.MultiOutputRegressor(ensemble.GradientBoostingRegressor(n_estimators=20, random_state=1)), X, y_multi, "value")
    learner("VotingRegressor", ensemble.VotingRegressor([("a", lm.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=4, random_state=1)), ("c", svm.SVR())], weights=[1, 2, 3]), X, yr, "value")
    learner("StackingRegressor", ensemble.StackingRegressor([("a", lm.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=4, random_state=1))]), X, yr, "value")
    learner("TransformedTargetRegressor", compose.TransformedTargetRegressor(lm.Ridge(), func=np.log, inverse_func=np.exp), X, y_pos, "value")
    names = [f"c{i}" for i in range(8)]
    rows = [dict(zip(names, map(float, r))) for r in X[TEST]]
    learner("Named columns: GradientBoostingRegressor", ensemble.GradientBoostingRegressor(n_estimators=30, random_state=1), X, yr, "value", options=["--feature-names", ",".join(names)], rows=rows)
    learner("Named columns: Pipeline", make(pp.StandardScaler(), lm.LogisticRegression()), X, y2, "classify", options=["--feature-names", ",".join(names)], rows=rows)
    try:
        import pandas as pd
    except ImportError:
        return
    colors = np.array(["red", "green", "blue", "grey"])[rng.integers(0, 4, N)]
    sizes = np.array(["S", "M", "L"])[rng.integers(0, 3, N)]
    frame = pd.DataFrame({"age": X[:, 0], "color": colors.astype(object), "income": X_gaps[:, 3], "size": sizes.astype(object)})
    target = ((colors == "red") & (X[:, 0] > 0) | (sizes == "L")).astype(int)
    rows = frame[TEST].to_dict("records")
    text = compose.ColumnTransformer([("n", make(impute.SimpleImputer(), pp.StandardScaler()), ["age", "income"]), ("c", pp.OneHotEncoder(handle_unknown="ignore"), ["color", "size"])])
    learner("ColumnTransformer of text and numbers", make(text, lm.LogisticRegression()), frame, target, "classify", "joblib", rows=rows)
    ordinal = compose.ColumnTransformer([("c", pp.OrdinalEncoder(), ["color", "size"])], remainder="passthrough")
    learner("OrdinalEncoder of text, HistGradientBoosting", make(ordinal, H(max_iter=20, random_state=1)), frame, target, "classify", rows=rows)
    try:
        categories = frame.astype({"color": "category", "size": "category"})
        learner("HistGradientBoosting of a data frame with categories", H(max_iter=20, random_state=1, categorical_features="from_dtype"), categories, target, "classify", rows=rows)
    except Exception as e:  # noqa: BLE001
        print("skipped: categories from dtype:", e)


def file_case(name, how, write, rows, want, classes=None, options=()):
    def run():
        path = os.path.join(WORK, "m." + how.split()[0])
        write(path)
        return compare(predict(path, rows, options), want(), classes)

    report(name, how, run)


def xgboost_cases():
    import xgboost as xgb

    def booster(name, how, params, x, y, kind, rounds=30, **matrix):
        def run():
            d = xgb.DMatrix(x[TRAIN], label=y[TRAIN], **matrix)
            b = xgb.train({"seed": 1, "nthread": 1, "verbosity": 0, **params}, d, rounds)
            path = os.path.join(WORK, "m." + how)
            b.save_model(path)
            p = b.predict(xgb.DMatrix(x[TEST], **matrix))
            if kind == "binary":
                want, classes = {"probabilities": np.stack([1 - p, p], 1), "label": (p > 0.5).astype(int)}, [0, 1]
            elif kind == "classes":
                want, classes = {"probabilities": p, "label": p.argmax(1)}, list(range(p.shape[1]))
            elif kind == "label":
                want, classes = {"label": p.astype(int)}, None
            else:
                want, classes = {"prediction": p}, None
            return compare(predict(path, x[TEST], []), want, classes)

        report("xgboost " + name, how, run)

    c3 = np.searchsorted([10, 20, 35], y3)
    for how in ("json", "ubj"):
        booster("binary:logistic, gaps", how, {"objective": "binary:logistic"}, X_gaps, y2, "binary")
        booster("multi:softprob", how, {"objective": "multi:softprob", "num_class": 3}, X, c3, "classes")
        booster("reg:squarederror, gaps", how, {"objective": "reg:squarederror"}, X_gaps, yr, "value")
    kinds = ["c" if i in (2, 5, 7) else "float" for i in range(8)]
    booster("categories, one-hot", "json", {"objective": "binary:logistic", "max_cat_to_onehot": 100, "tree_method": "hist"}, X_cat, y_cat, "binary", enable_categorical=True, feature_types=kinds)
    booster("categories, partitions, gaps", "json", {"objective": "reg:squarederror", "max_cat_to_onehot": 1, "tree_method": "hist"}, X_cat_gaps, yr_cat, "value", enable_categorical=True, feature_types=kinds)
    booster("categories, partitions", "ubj", {"objective": "binary:logistic", "max_cat_to_onehot": 1, "tree_method": "hist"}, X_cat, y_cat, "binary", enable_categorical=True, feature_types=kinds)
    booster("dart", "json", {"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.3}, X, y2, "binary")
    booster("dart, multi:softprob", "ubj", {"objective": "multi:softprob", "num_class": 3, "booster": "dart", "rate_drop": 0.2}, X, c3, "classes", 15)
    booster("gblinear", "json", {"objective": "reg:squarederror", "booster": "gblinear"}, X_gaps, yr, "value")
    booster("gblinear, binary", "ubj", {"objective": "binary:logistic", "booster": "gblinear"}, X, y2, "binary")
    booster("gblinear, 3 classes", "json", {"objective": "multi:softprob", "num_class": 3, "booster": "gblinear"}, X, c3, "classes")
    for objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"):
        booster(objective, "json", {"objective": objective}, X, y_pos, "value")
    for objective in ("reg:absoluteerror", "reg:pseudohubererror", "rank:pairwise"):
        booster(objective, "ubj", {"objective": objective}, X, yr if objective.startswith("reg") else y2, "value")
    booster("reg:quantileerror", "json", {"objective": "reg:quantileerror", "quantile_alpha": 0.7}, X, yr, "value")
    booster("reg:logistic", "json", {"objective": "reg:logistic"}, X, y2 * 0.8 + 0.1, "value")
    booster("binary:logitraw", "json", {"objective": "binary:logitraw"}, X, y2, "value")
    booster("binary:hinge", "json", {"objective": "binary:hinge"}, X, y2, "label")
    booster("multi:softmax", "json", {"objective": "multi:softmax", "num_class": 3}, X, c3, "label")
    booster("base_score 0.2", "json", {"objective": "binary:logistic", "base_score": 0.2}, X, y2, "binary")
    booster("two targets", "json", {"objective": "reg:squarederror"}, X, y_multi, "value")
    booster("random forest", "ubj", {"objective": "reg:squarederror", "num_parallel_tree": 20, "subsample": 0.7, "learning_rate": 1.0}, X, yr, "value", 1)
    try:
        learner("xgboost XGBClassifier in a pickle", xgb.XGBClassifier(n_estimators=20), X_gaps, c3, "classify")
        learner("xgboost XGBRegressor in joblib", xgb.XGBRegressor(n_estimators=20), X_gaps, yr, "value", "joblib")
    except Exception as e:  # noqa: BLE001
        print("skipped:", e)


def lightgbm_cases():
    import lightgbm as lgb

    def booster(name, how, params, x, y, kind, rounds=30, categories="auto"):
        def run():
            d = lgb.Dataset(x[TRAIN], label=y[TRAIN], categorical_feature=categories, params={"verbose": -1})
            b = lgb.train({"seed": 1, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_per_group": 5, "cat_smooth": 1, **params}, d, rounds)
            path = os.path.join(WORK, "m." + how)
            if how == "txt":
                b.save_model(path)
            else:
                with open(path, "w") as f:
                    json.dump(b.dump_model(), f)
            p = b.predict(x[TEST])
            if kind == "binary":
                want, classes = {"probabilities": np.stack([1 - p, p], 1), "label": (p > 0.5).astype(int)}, [0, 1]
            elif kind == "classes":
                want, classes = {"probabilities": p, "label": p.argmax(1)}, list(range(p.shape[1]))
            else:
                want, classes = {"prediction": p}, None
            return compare(predict(path, x[TEST], []), want, classes)

        report("lightgbm " + name, how, run)

    c3 = np.searchsorted([10, 20, 35], y3)
    zeros = X.copy()
    zeros[rng.random(X.shape) < 0.3] = 0
    zeros_gaps = zeros.copy()
    zeros_gaps[rng.random(X.shape) < 0.1] = np.nan
    for how in ("txt", "json"):
        booster("binary, gaps", how, {"objective": "binary"}, X_gaps, y2, "binary")
        booster("multiclass", how, {"objective": "multiclass", "num_class": 3}, X, c3, "classes")
        booster("multiclassova", how, {"objective": "multiclassova", "num_class": 3}, X, c3, "classes")
        booster("zero as missing", how, {"objective": "regression", "zero_as_missing": True}, zeros_gaps, yr, "value")
        booster("categories", how, {"objective": "binary"}, X_cat, y_cat, "binary", categories=[2, 5, 7])
        booster("categories, gaps", how, {"objective": "regression", "max_cat_to_onehot": 1}, X_cat_gaps, yr_cat, "value", categories=[2, 5, 7])
        booster("random forest", how, {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, X, yr, "value")
    booster("random forest, binary", "txt", {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, X, y2, "binary")
    booster("no missing values", "txt", {"objective": "regression", "use_missing": False}, X_gaps, yr, "value")
    booster("dart", "txt", {"objective": "binary", "boosting": "dart"}, X, y2, "binary")
    booster("binary, sigmoid 2", "txt", {"objective": "binary", "sigmoid": 2.0}, X, y2, "binary")
    for objective in ("poisson", "gamma", "tweedie"):
        booster(objective, "txt", {"objective": objective}, X, y_pos, "value")
    for objective in ("regression_l1", "huber", "fair", "quantile", "mape"):
        booster(objective, "txt", {"objective": objective}, X, yr, "value")
    booster("regression, reg_sqrt", "txt", {"objective": "regression", "reg_sqrt": True}, X, yr, "value")
    booster("cross_entropy", "txt", {"objective": "cross_entropy"}, X, y2 * 0.9, "value")
    booster("cross_entropy_lambda", "txt", {"objective": "cross_entropy_lambda"}, X, y2 * 0.9, "value")
    learner("lightgbm LGBMClassifier in a pickle", lgb.LGBMClassifier(n_estimators=15, verbose=-1), X_gaps, t3, "classify")


def libsvm_cases():
    try:
        from libsvm import svmutil
    except ImportError:
        import svmutil
    scaled = X / 3

    def case(name, options, y, kind, probabilities=False):
        def run():
            m = svmutil.svm_train([float(v) for v in y[TRAIN]], [{j + 1: float(v) for j, v in enumerate(r)} for r in scaled[TRAIN]], options + " -q")
            path = os.path.join(WORK, "m.model")
            svmutil.svm_save_model(path, m)
            flags = "-b 1 -q" if probabilities else "-q"
            labels, _, values = svmutil.svm_predict([], [{j + 1: float(v) for j, v in enumerate(r)} for r in scaled[TEST]], m, flags)
            if kind == "value":
                want, classes = {"prediction": labels}, None
            else:
                want, classes = {"label": [int(v) for v in labels]}, None
                if probabilities:
                    want["probabilities"], classes = np.array(values), m.get_labels()
            return compare(predict(path, scaled[TEST], []), want, classes)

        report("libsvm " + name, "text", run)

    for t, name in enumerate(("linear", "polynomial", "rbf", "sigmoid")):
        case(f"c_svc, {name}", f"-s 0 -t {t} -g 0.1 -r 0.5", y3, "label")
    case("c_svc, probabilities", "-s 0 -t 2 -g 0.1 -b 1", y3, "label", True)
    case("c_svc, 2 classes, probabilities", "-s 0 -t 0 -b 1", y2, "label", True)
    case("nu_svc", "-s 1 -n 0.3 -g 0.1", y2, "label")
    case("one_class", "-s 2 -n 0.3 -g 0.1", y2, "label")
    case("epsilon_svr", "-s 3 -g 0.1", yr, "value")
    case("nu_svr", "-s 4 -g 0.1", yr, "value")


versions = [f"scikit-learn {sklearn.__version__}"]
sklearn_cases()
for module, cases in (("xgboost", xgboost_cases), ("lightgbm", lightgbm_cases), ("libsvm", libsvm_cases)):
    try:
        found = __import__(module)
    except ImportError:
        print(f"skipped: no {module}")
        continue
    version = getattr(found, "__version__", None)
    if version is None:
        from importlib.metadata import version as installed

        version = installed("libsvm-official")
    versions.append(f"{module} {version}")
    cases()

bad = [r for r in results if r[2] != "ok"]
print(f"{len(results)} cases, {len(results) - len(bad)} ok, {len(bad)} not; {', '.join(versions)}; {ROWS} rows each")
if os.environ.get("MLT_REPORT"):
    out = io.StringIO()
    out.write("# Classic learners\n\n")
    out.write("Written by `scripts/conformance-learners`: models trained here, converted by mlconvert, run by mlpredict, compared with the\n")
    out.write(f"library's own predictions on {ROWS} rows. Versions: {', '.join(versions)}.\n\n")
    out.write(f"{len(results) - len(bad)} of {len(results)} agree: labels equal, probabilities within 1e-5, numbers within 1e-5 of their size.\n\n")
    out.write("| model | file | result | wrong labels | worst probability | worst number |\n|---|---|---|---:|---:|---:|\n")
    for name, how, state, wrong, p, v, why in results:
        out.write(f"| {name} | {how} | {state}{': ' + why if why else ''} | {wrong} | {p:.0e} | {v:.0e} |\n")
    with open(os.environ["MLT_REPORT"], "w") as f:
        f.write(out.getvalue())
sys.exit(1 if bad else 0)

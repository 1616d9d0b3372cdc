"""Core ML models in Bazel: load("//:coreml_model.bzl", "coreml_model"). mlcompile must be in PATH.

coreml_model(name = "cat", model = "cat.mlmodel") makes the targets cat.mlarchive and cat.hpp; a package is given as
model = "cat.mlpackage/Manifest.json", srcs = glob(["cat.mlpackage/**"]).
"""

def coreml_model(name, model, srcs = [], language = "c++", **kwargs):
    package = model.endswith("/Manifest.json")
    path = "$$(dirname $(location {}))".format(model) if package else "$(location {})".format(model)
    extension = {"c++": "hpp", "python": "py", "swift": "swift"}[language]
    files = srcs if srcs else [model]
    native.genrule(
        name = name + "_compiled",
        srcs = files,
        outs = [name + ".mlarchive"],
        cmd = "mlcompile -o $@ " + path,
        **kwargs
    )
    native.genrule(
        name = name + "_source",
        srcs = files,
        outs = [name + "." + extension],
        cmd = "mlcompile --generate {} --class {} -o $@ {}".format(language, name, path),
        **kwargs
    )

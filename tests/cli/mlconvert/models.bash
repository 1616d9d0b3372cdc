# Small ONNX models for these tests, as base64. Made with the helpers of the onnx package (opset 17, IR version 8):
#   mlp    x[1,4] -> Gemm "fc" (4 to 3, bias) -> Relu -> Softmax -> probs[1,3]
#   odd    two operators that Core ML cannot express: com.example.Frobnicate, Unique (twice)
#   image  image[N,3,H,W] -> GlobalAveragePool -> Flatten -> y[N,3]
#   cache  past_k[1,4,8] + x[1,4,8] -> present_k, its sum along axis 1 -> y[1,8]
model() {
  case $1 in
  mlp) echo CAg61wEKFgoBeAoBdwoBYhIBZxoCZmMiBEdlbW0KEQoBZxIBchoDYWN0IgRSZWx1CiUKAXISBXByb2JzGgN0b3AiB1NvZnRtYXgqCwoEYXhpcxgBoAECEgFtKjsIBAgDEAFCAXdKMAAAAD4AAIA+AADAPgAAAD8AACA/AABAPwAAYL8AAIA/AACQPwAAAD4AAAAAAAAAvioVCAMQAUIBYkoMAAAAPwAAAAAAAAC/WhMKAXgSDgoMCAESCAoCCAEKAggEYhcKBXByb2JzEg4KDAgBEggKAggBCgIIA0IECgAQEQ== ;;
  odd) echo CAg6iwEKIwoBeBIBYRoCZjEiCkZyb2JuaWNhdGU6C2NvbS5leGFtcGxlChIKAWESAXUaAnUxIgZVbmlxdWUKEgoBeBIBdhoCdTIiBlVuaXF1ZQoPCgF2EgF5GgFyIgRSZWx1EgFtWhMKAXgSDgoMCAESCAoCCAEKAggEYhMKAXkSDgoMCAESCAoCCAEKAggEQgQKABARQg8KC2NvbS5leGFtcGxlEAE= ;;
  image) echo CAg6eQojCgVpbWFnZRIBcBoEcG9vbCIRR2xvYmFsQXZlcmFnZVBvb2wKFQoBcBIBeRoEZmxhdCIHRmxhdHRlbhIBbVoiCgVpbWFnZRIZChcIARITCgMSAU4KAggDCgMSAUgKAxIBV2IUCgF5Eg8KDQgBEgkKAxIBTgoCCANCBAoAEBE= ;;
  cache) echo CAg60QEKGwoGcGFzdF9rCgF4EglwcmVzZW50X2siA0FkZAouCglwcmVzZW50X2sKAmF4EgF5IglSZWR1Y2VTdW0qDwoIa2VlcGRpbXMYAKABAhIBZyoSCAEQB0ICYXhKCAEAAAAAAAAAWhcKAXgSEgoQCAESDAoCCAEKAggECgIICFocCgZwYXN0X2sSEgoQCAESDAoCCAEKAggECgIICGITCgF5Eg4KDAgBEggKAggBCgIICGIfCglwcmVzZW50X2sSEgoQCAESDAoCCAEKAggECgIICEIECgAQEQ== ;;
  esac | base64 -d
}

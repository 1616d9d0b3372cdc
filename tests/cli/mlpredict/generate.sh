# --generate: tokens from a language model of random weights (what PyTorch's greedy search gives is in its .json).
data=$HERE/../../../testdata
cp -r $data/language-model/tiny-state.mlpackage lm.mlpackage
cp $data/tokenizers/gpt2.json .
model=lm.mlpackage
ids=5,17,3,42,9,11
cat $data/language-model/tiny-state.json
mlpredict $model --generate 20 --prompt-ids $ids
mlpredict $model --generate 20 --prompt-ids $ids --json
mlpredict $model --generate 20 --prompt-ids $ids --stop 50 --stop 63 --json
mlpredict $model --generate 20 --prompt-ids $ids --context 8 --json
mlpredict $model --generate 20 --prompt-ids $ids --context 8
mlpredict $model --generate 20 --prompt-ids $ids --tokens-input input_ids --mask-input causal_mask --logits-output logits
# The same seed, the same tokens.
mlpredict $model --generate 8 --prompt-ids $ids --temperature 1 --seed 3
mlpredict $model --generate 8 --prompt-ids $ids --temperature 1 --seed 3
mlpredict $model --generate 8 --prompt-ids $ids --temperature 1 --sample-top-k 1
mlpredict $model --generate 8 --prompt-ids $ids --temperature 9 --top-p 0.0001
# Text in and out.
mlpredict $model --generate 8 --prompt '9,8;7' --tokenizer gpt2.json
printf '9,8;7' | mlpredict $model --generate 8 --prompt - --tokenizer gpt2.json --json
printf '9,8;7' >p.txt
mlpredict $model --generate 8 --prompt @p.txt --tokenizer gpt2.json --stop 'E' --json
mlpredict $model --generate 2 --prompt-ids $ids --json --timings | sed 's/\("seconds":\|"tokens_per_second":\)[0-9.e+-]*/\1N/g'
refused() { mlpredict "$@" || echo $?; }
refused $model --generate 5
refused $model --generate 5 --prompt hello
refused $model --generate 5 --prompt-ids 1 --prompt hello
refused $model --generate 5 --prompt-ids one
refused $model --generate 5 --prompt-ids 64
refused $model --generate 5 --prompt-ids=
refused $model --generate 0 --prompt-ids 1
refused $model --generate 5 --prompt-ids 1 --top-p 0.5
refused $model --generate 5 --prompt-ids 1 --top-k 5
refused $model --generate 5 --prompt-ids 1 --timings
refused $model --generate 5 --prompt-ids 1 --cache a
refused $model --generate 5 --prompt-ids 1 --cache a=b
refused $model --generate 5 --prompt-ids 1 --stop never
refused $model --generate 5 --prompt-ids 1 --tokens-input none
refused $model --generate 5 --prompt-ids 1 --tokenizer p.txt
refused $model --generate 5 --prompt-ids 1 --tokenizer none.json
refused $model --generate 5 --prompt hello --tokenizer gpt2.json
echo '{"model": {"type": "Unigram"}, "decoder": {"type": "CTC"}}' >unigram.json
refused $model --generate 5 --prompt-ids 1 --tokenizer unigram.json
refused $model --prompt-ids 1
refused $model --seed 1 --compare-with $model
. "$HERE/models.inc"
refused m.mil --generate 5 --prompt-ids 1
. "$HERE/spec.inc"
refused price.mlmodel --generate 5 --prompt-ids 1

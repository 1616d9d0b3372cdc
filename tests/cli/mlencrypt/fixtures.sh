# testdata/crypt: every file gets the verdict that its name promises, and leaves an output only when it is good.
install -m 600 "$TESTDATA/crypt/key.txt" key
cd "$TESTDATA/crypt"
out=$HOME/out
for file in *.age; do
  case $file in
  good-*) want=0 ;;
  # Malformed, or not authentic.
  bad-*flipped* | bad-mac.age | bad-extra-stanza.age | bad-trailing-data.age | bad-no-payload.age | bad-*truncated* | bad-*cut.age) want='[36]' ;;
  bad-*) want=3 ;;
  unsupported-*) want=4 ;;
  locked-*) want=6 ;;
  esac
  status=0
  mlencrypt -d -i "$HOME/key" -o "$out" "$file" 2>"$HOME/message" || status=$?
  [[ $status == $want ]] || echo "$file: expected $want, got $status: $(cat "$HOME/message")"
  if [ "$want" = 0 ]; then
    case $file in
    good-empty.age) [ ! -s "$out" ] ;;
    *) [ "$(cat "$out")" = content ] ;;
    esac || echo "$file: wrong content"
    rm "$out"
  else
    grep -q "^mlencrypt: error: $file: " "$HOME/message" || echo "$file: no message"
    [ ! -e "$out" ] || echo "$file: left an output"
    [ $status != 6 ] || echo "$file: 6"
  fi
done
ls | sed 's/-.*//' | grep -v README | sort | uniq -c

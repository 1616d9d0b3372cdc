# The page in a browser: it runs, searches, and hostile names do nothing.
# needs: chromium
. "$HERE/html.inc"
export HOME=$PWD
mlinspect --html page.html hostile.mil
dom() { timeout 100 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" --virtual-time-budget=3000 --dump-dom "file://$PWD/page.html$1" 2>/dev/null; }
dom '' >all.html
[ -s all.html ] || exit 77
grep -o '<title>hostile</title>' all.html
grep -oE 'id="count"[^>]*>[^<]*' all.html
grep -c 'class="node"' all.html
grep -oE '<img' all.html || echo 'no picture'
grep -oE '<svg xmlns[^>]* viewBox="[^"]*"' all.html | grep -c 'width=' || echo 'the script ran'
dom '#q=tanh' >some.html
grep -oE 'id="count"[^>]*>[^<]*' some.html
grep -c '<tr data-n="[0-9]*"[^>]*hidden' some.html

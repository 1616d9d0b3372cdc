# The page: its parts are there, it refers to nothing, and names stay names.
. "$HERE/html.inc"
mlinspect --html page.html hostile.mil
grep -o '<h2 id="[a-z]*">' page.html
grep -c '<tr data-n=' page.html
grep -c '<svg class="h"' page.html
grep -ciE "<img|<iframe|<link|src=[^x]|href=.[^#]" page.html || true
grep -ioE '<(img|iframe|link|object)[^>]*>|</?script>' page.html
grep -c '&lt;/script&gt;&lt;script&gt;' page.html
mlinspect --html - hostile.mil | cmp - page.html
mlinspect --html page.html -o x hostile.mil || echo $?
mlinspect --html hostile.mil hostile.mil || echo $?

# The lines of the README in a real repository: git diff shows models as text, git difftool compares them.
# needs: git
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
git init -q .
echo '*.mlmodel diff=mlmodel' >> .gitattributes
git config diff.mlmodel.textconv 'mlinspect --textconv'
git config difftool.mlinspect.cmd 'mlinspect --diff "$LOCAL" "$REMOTE"'
# A support vector machine; then with another coefficient.
mlconvert "$TESTDATA/learners/libsvm.model" -o m.mlmodel
git add . && git commit -qm one
sed 's/^0.27278216693516449 /0.5 /' "$TESTDATA/learners/libsvm.model" >changed.model
mlconvert changed.model -o m.mlmodel
git diff m.mlmodel | sed 1,2d
git difftool -y -t mlinspect m.mlmodel | sed '1s/.*/NAMES/'

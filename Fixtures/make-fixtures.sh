#!/bin/bash
# Makes the OCI image layouts of this folder with GNU tar, umoci, skopeo and
# buildah.  README.md says what is in each.
#
# Usage: make-fixtures.sh [OUTPUT-FOLDER]     (default: the script's own folder)
#
# Has to be root, for device nodes, owners and capabilities, and needs a TMPDIR
# whose file system stores user.* attributes.  Two runs with the same packages
# give the same bytes.
set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:-$here}")

fail() { echo "make-fixtures: $*" >&2; exit 1; }

# command=Debian package
for need in attr=attr setfattr=attr setcap=libcap2-bin tar=tar umoci=umoci \
            skopeo=skopeo buildah=buildah jq=jq unshare=util-linux; do
    command -v "${need%=*}" >/dev/null || fail "needs ${need%=*}: apt-get install ${need#*=}"
done
busybox=/bin/busybox
copyright=/usr/share/doc/busybox-static/copyright
licences=/usr/share/common-licenses
[[ -f $busybox && -f $copyright ]] || fail "needs a static busybox: apt-get install busybox-static"
[[ $(id -u) == 0 ]] || fail "has to be root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

touch probe
setfattr -n user.probe -v 1 probe 2>/dev/null ||
    fail "no user attributes in $work: set TMPDIR to another file system"

# One second for everything that is not given a time of its own.
export SOURCE_DATE_EPOCH=1700000000
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

# ---------------------------------------------------------------- layers

# layer NAME: starts the layer whose tree is the folder NAME and goes there.
layer() { mkdir "$work/$1"; cd "$work/$1"; }

# file PATH [TEXT]: a small file, with its parents.
file() { mkdir -p "$(dirname "./$1")"; printf '%s\n' "${2-$1}" > "./$1"; }

# settle: one time for the whole tree; particular times come after it.
settle() { find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

# names: the tree's paths for tar, sorted and ending in NUL.
names() { find . -print0 | sort -z; }

# without REGEX: leaves out the paths that match, with what names prints.
without() { grep -zvE "^\./($1)\$"; }

# bare: the same paths without "./", and so without an entry for the root.
bare() { grep -zvx '\.' | sed -z 's,^\./,,'; }

# pack [TAR-OPTION...] < paths: writes the tree as NAME.tar, NAME being the
# folder we are in.  PAX unless another format is asked for.  The bytes should not
# change from run to run: no access times, and, as tar writes its process number
# into the names of sparse files, always the process number 1.
pack() {
    local format=(--format=pax --xattrs '--xattrs-include=*'
        '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime')
    [[ "$*" == *--format=* ]] && format=()
    unshare --pid --fork tar --create --file="$PWD.tar" --no-recursion --null --files-from=- \
        --numeric-owner "${format[@]}" "$@"
}

# ---------------------------------------------------------------- images

# new IMAGE ARCHITECTURE: an empty image, IMAGE being LAYOUT:TAG.
new() {
    [[ -f ${1%%:*}/oci-layout ]] || umoci init --layout "${1%%:*}"
    umoci new --image "$1"
    umoci config --image "$1" --no-history --created "$created" --os linux --architecture "$2"
}

# add IMAGE NAME...: adds the layers NAME.tar, lowest first.
add() {
    local image=$1 name
    shift
    for name; do
        umoci raw add-layer --image "$image" --history.created "$created" \
            --history.created_by "GNU tar, layer $name" "$work/$name.tar"
    done
}

# publish LAYOUT: drops the blobs of steps on the way and puts LAYOUT in place.
publish() {
    umoci gc --layout "$work/$1"
    mkdir -p "$out"
    rm -rf "${out:?}/$1"
    cp -r "$work/$1" "$out/$1"
    chmod -R u=rwX,go=rX "$out/$1"
    echo "$out/$1"
}

# blob LAYOUT MEDIA-TYPE < content: stores a blob, prints its descriptor.
blob() {
    local digest
    cat > "$work/blob"
    digest=$(sha256sum < "$work/blob" | cut -d ' ' -f 1)
    jq -nc --arg type "$2" --arg digest "sha256:$digest" \
        --argjson size "$(stat -c %s "$work/blob")" \
        '{mediaType: $type, digest: $digest, size: $size}'
    mv "$work/blob" "$work/$1/blobs/sha256/$digest"
}

# manifest LAYOUT TAG: prints the manifest that has the tag.
manifest() {
    local digest
    digest=$(jq -r --arg tag "$2" '.manifests[]
        | select(.annotations["org.opencontainers.image.ref.name"] == $tag)
        | .digest' "$work/$1/index.json")
    cat "$work/$1/blobs/${digest/://}"
}

# ---------------------------------------------------------------- busybox

# A root with its own mode and time, programs, and what later layers change.
layer base
mkdir -p bin dev etc proc run sys usr/lib usr/share/doc/busybox-static var/empty var/log
install -m 755 "$busybox" bin/busybox
install -m 644 "$copyright" usr/share/doc/busybox-static/copyright
install -D -m 644 -t usr/share/common-licenses "$licences/GPL-2" "$licences/LGPL-2.1"
for applet in sh ls mkdir; do ln bin/busybox "bin/$applet"; done
for applet in cat env id; do ln -s busybox "bin/$applet"; done
ln -s /bin/busybox bin/echo
ln -s usr/lib lib
file etc/passwd 'root:x:0:0:root:/root:/bin/sh'
file etc/group 'root:x:0:'
file usr/lib/os-release 'NAME="unpack fixture"'
ln -s ../usr/lib/os-release etc/os-release
ln -s /no/such/file etc/dangling
install -d -m 1777 tmp
install -d -m 0700 root
chmod 555 var/empty
# Changed by the layers "changes" and "removals".
file etc/removed
file etc/replaced
file usr/share/old/one
file usr/share/old/deep/two
for opaque in plain implicit late; do
    file "var/opaque/$opaque/one"
    file "var/opaque/$opaque/deep/two"
done
file var/lib/file-then-folder
file var/lib/folder-then-file/inside
file var/lib/folder-then-link/inside
ln -s ../lib var/lib/link-then-folder
mkdir var/lib/kept
chmod 750 var/lib/kept
file var/lib/kept/inside
settle
chmod 711 .
touch -d '2021-03-04 05:06:07.890123456 UTC' .
names | pack

# Every kind of node, mode, owner, time, attribute and name.
layer nodes
mkdir -p dev opt/{modes,owners,times,attributes,names,links} run
mknod -m 666 dev/null c 1 3
mknod -m 620 dev/tty c 5 0
mknod -m 660 dev/loop0 b 7 0
mknod -m 600 dev/large-numbers b 259 1048575
chown 0:6 dev/loop0
mkfifo -m 640 run/fifo
for mode in 4755 2755 1644 6711 0000 0444; do
    file "opt/modes/file-$mode"
    chmod "$mode" "opt/modes/file-$mode"
done
for mode in 4755 2775 1777 0500; do mkdir "opt/modes/folder-$mode"; done
for mode in 4755 2775 1777 0500; do chmod "$mode" "opt/modes/folder-$mode"; done
# 2097151 is the largest number a ustar header holds.
for owner in 1000:100 65534:65534 2097151:2097152 3000000:4000000; do
    file "opt/owners/file-${owner/:/-}"
    chown "$owner" "opt/owners/file-${owner/:/-}"
done
mkdir opt/owners/folder
chown 1000:1000 opt/owners/folder
ln -s file-1000-100 opt/owners/link
chown -h 3000000:1000 opt/owners/link
# The owner has to be set before the mode, which it would take bits from.
file opt/owners/setuid
chown 1000:1000 opt/owners/setuid
chmod 6755 opt/owners/setuid
file opt/attributes/user
setfattr -n user.colour -v blue opt/attributes/user
setfattr -n user.bytes -v 0x00ff0a3d41 opt/attributes/user
mkdir opt/attributes/folder
setfattr -n user.colour -v green opt/attributes/folder
file opt/attributes/capability
chown 1000:1000 opt/attributes/capability
chmod 755 opt/attributes/capability
setcap cap_net_raw,cap_net_bind_service+ep opt/attributes/capability
file opt/links/one
ln opt/links/one opt/links/two
ln opt/links/one opt/links/three
ln -s one opt/links/symlink
ln -P opt/links/symlink opt/links/symlink-again
file 'opt/names/with spaces '
file $'opt/names/caf\xc3\xa9'
file $'opt/names/caf\xe9'
file $'opt/names/new\nline'
file 'opt/names/back\slash'
file 'opt/names/-dash'
file 'opt/names/..dots'
file 'opt/names/wh.not-a-whiteout'
file 'opt/names/in.wh.middle'
: > opt/names/empty
settle
touch -d '2021-01-02 03:04:05.123456789 UTC' opt/times/nanoseconds opt/times
touch -h -d '2001-09-09 01:46:40.000000001 UTC' opt/links/symlink
touch -d @0 opt/times/epoch
touch -d '1969-12-31 23:59:58.5 UTC' opt/times/before-epoch
touch -d '2106-02-07 06:28:17 UTC' opt/times/after-32-bits
touch -d '2021-01-02 03:04:05.123456789 UTC' opt/times
names | bare | pack

# Upper entries that meet lower ones, and parents that have no entry.
layer changes
file etc/replaced changed
chmod 600 etc/replaced
file var/lib/file-then-folder/inside
file var/lib/folder-then-file
ln -s kept var/lib/folder-then-link
file var/lib/link-then-folder/inside
mkdir var/lib/kept
chmod 2770 var/lib/kept
chown 0:100 var/lib/kept
file usr/share/implicit/deep/file
file lib/extra.conf
# Stand-ins for files of lower layers; cut from the archive, they leave hard
# links whose target is not in it.
file bin/busybox
chmod 755 bin/busybox
ln bin/busybox bin/uname
file opt/links/one
ln opt/links/one opt/links/upper
settle
touch -d '2022-02-02 02:02:02.2 UTC' var/lib/kept
names | without 'bin|lib|opt|opt/links|usr(/share(/implicit(/deep)?)?)?' | bare | pack
tar --delete --file=../changes.tar bin/busybox opt/links/one

# Whiteouts.
layer removals
file bin/.wh.ls ''                  # one name of three
file bin/.wh.echo ''                # a link, not what it points at
file etc/.wh.removed ''
file etc/.wh.never-was ''
file usr/share/.wh.old ''           # a folder with all it holds
file var/lib/.wh.kept ''            # a folder removed, and made again
file var/lib/kept/new
file var/opaque/plain/.wh..wh..opq ''     # a folder emptied, and filled again
file var/opaque/plain/new
file var/opaque/implicit/.wh..wh..opq ''  # a folder emptied, with no entry
find . -name '.wh.*' -exec truncate -s 0 {} +
settle
names | without 'bin|usr|usr/share|var/opaque(/implicit)?' | bare | pack

# The GNU format, for long names and large numbers, and whiteouts whose place
# in the archive should not matter.
layer order
long=$(printf 'long-name-%.0s' {1..15})
file "opt/long/$long/$long"
ln -s "$long/$long" opt/long/symlink
ln "opt/long/$long/$long" opt/long/two
file opt/large-owner
chown 3000000:4000000 opt/large-owner
file lib/.wh.extra.conf
file var/opaque/late/new
file var/opaque/late/.wh..wh..opq
file var/log/later
file var/log/.wh.later
find . -name '.wh.*' -exec truncate -s 0 {} +
settle
{
    names | without 'lib|var|.*/\.wh\..*' | bare
    names | grep -z '/\.wh\.' | bare
} | pack --format=gnu

cd "$work"
image=busybox:busybox:1.0
new $image amd64
add $image base nodes changes removals order
# shellcheck disable=SC2016  # the shell in the image expands $GREETING
umoci config --image $image --no-history --created "$created" \
    --config.env PATH=/bin:/usr/bin --config.env 'GREETING=hello world' \
    --config.cmd sh --config.cmd -c --config.cmd 'echo "$GREETING"' \
    --config.workingdir /opt --config.label org.example.kind=fixture
publish busybox

# ---------------------------------------------------------------- other layer types

# skopeo changes the compression of each layer, and with it the media types.
skopeo copy --quiet --dest-compress-format zstd --dest-compress-level 19 \
    oci:$image oci:busybox-zstd:busybox:1.0
publish busybox-zstd

# --dest-decompress is for the dir transport alone.
skopeo copy --quiet --dest-decompress oci:$image dir:decompressed
skopeo copy --quiet --dest-oci-accept-uncompressed-layers \
    dir:decompressed oci:busybox-tar:busybox:1.0
publish busybox-tar

# ---------------------------------------------------------------- several platforms

container() {
    buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}

# platform NAME [CONFIG-OPTION...]: an image of one text file, as oci:multi:NAME.
platform() {
    local name=$1 id
    shift
    file "platform-$name/etc/platform" "$name"
    find "platform-$name" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    id=$(container from scratch)
    container copy --quiet "$id" "platform-$name" / >/dev/null
    container config --os linux --cmd '["cat","/etc/platform"]' "$@" "$id" 2>/dev/null
    container commit --quiet --timestamp "$SOURCE_DATE_EPOCH" "$id" "$name" >/dev/null
    container push --quiet "$name" "oci:$work/platforms:$name"
}
platform amd64 --arch amd64
platform arm64 --arch arm64 --variant v8

# No tool here makes an attestation, so this one is put together with jq in the
# form BuildKit gives them: an image manifest whose layer is an in-toto
# statement about another manifest of the index.
subject=$(manifest platforms amd64 | sha256sum | cut -d ' ' -f 1)
statement=$(jq -n --arg digest "$subject" '{
    _type: "https://in-toto.io/Statement/v0.1",
    predicateType: "https://slsa.dev/provenance/v0.2",
    subject: [{name: "multi", digest: {sha256: $digest}}],
    predicate: {buildType: "https://example.org/make-fixtures"}}' |
    blob platforms application/vnd.in-toto+json |
    jq -c '.annotations = {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}')
config=$(jq -nc --argjson layer "$statement" '{
    architecture: "unknown", os: "unknown", config: {},
    rootfs: {type: "layers", diff_ids: [$layer.digest]}}' |
    blob platforms application/vnd.oci.image.config.v1+json)
attestation=$(jq -nc --argjson config "$config" --argjson layer "$statement" '{
    schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: $config, layers: [$layer]}' |
    blob platforms application/vnd.oci.image.manifest.v1+json)
jq -c --argjson new "$attestation" '.manifests += [$new
    | .annotations = {"org.opencontainers.image.ref.name": "attestation"}]' \
    platforms/index.json > index.json
mv index.json platforms/index.json

container manifest create list >/dev/null
container manifest add --os linux --arch amd64 list "oci:$work/platforms:amd64" >/dev/null
container manifest add --os linux --arch arm64 --variant v8 list "oci:$work/platforms:arm64" >/dev/null
container manifest add --os unknown --arch unknown \
    --annotation vnd.docker.reference.type=attestation-manifest \
    --annotation "vnd.docker.reference.digest=sha256:$subject" \
    list "oci:$work/platforms:attestation" >/dev/null
container manifest push --quiet --all list "oci:$work/multi:multi:1.0"
publish multi

# ---------------------------------------------------------------- edge

# Small images of one unusual thing each, among them what umoci cannot unpack.
# edge TAG LAYER...: the image edge:TAG.
edge() {
    cd "$work"
    new "edge:$1" amd64
    add "edge:$1" "${@:2}"
}

# Sparse files in the four forms GNU tar knows, two holes around some data.
for form in gnu 0.0 0.1 1.0; do
    layer "sparse-$form"
    truncate -s 200000 "sparse-$form"
    printf 'data in a hole\n' | dd of="sparse-$form" bs=1 seek=100000 conv=notrunc status=none
    settle
    case $form in
        gnu) names | bare | pack --format=gnu --sparse --hole-detection=raw ;;
        *) names | bare | pack --sparse --hole-detection=raw "--sparse-version=$form" ;;
    esac
done
edge gnu-sparse sparse-gnu
edge pax-sparse sparse-0.0 sparse-0.1 sparse-1.0

# A global PAX header first, as git archive writes it.
layer global-header
file file
settle
names | bare | pack --pax-option="globexthdr.name=pax_global_header,\
globexthdr.mtime=$SOURCE_DATE_EPOCH,comment=global"
edge global-header global-header

# Older formats; the name of 181 bytes takes the prefix field of ustar.
for format in ustar v7; do
    layer "$format"
    file folder/file
    ln folder/file folder/link
    ln -s file folder/symlink
    if [[ $format == ustar ]]; then
        file "folder/$(printf 'x%.0s' {1..90})/$(printf 'y%.0s' {1..83})"
    fi
    settle
    names | bare | pack --format="$format"
    edge "$format" "$format"
done

# An attribute without a value, a POSIX ACL, an attribute of a symbolic link.
layer attributes
file empty-value
setfattr -n user.empty empty-value
file acl
setfattr -n system.posix_acl_access -v \
    0x0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff acl
ln -s acl symlink
setfattr -h -n trusted.colour -v red symlink
settle
names | bare | pack
edge attributes attributes

# What AUFS left in layers; names that start with .wh..wh. are its own.
layer aufs
file folder/file
file .wh..wh.plnk/123.4
file .wh..wh.aufs
settle
names | bare | pack
edge aufs aufs

# Absolute names, and names with . and .. that stay inside.
layer names
file absolute/file
file dots/file
settle
names | bare | pack --absolute-names \
    --transform='s,^absolute,/absolute,;s,^dots/file,dots/../other/./file,'
edge names names

# The same path three times: a folder, a file, a folder.
layer duplicates
mkdir -m 700 path
file path/lost
settle
names | bare | pack
rm -r path
file path
settle
tar --append --file="$PWD.tar" --format=pax --numeric-owner path
rm path
file path/kept
settle
tar --append --file="$PWD.tar" --format=pax --numeric-owner path
edge duplicates duplicates

# Paths that lead through symbolic links: of the same layer, of a lower layer,
# and in the target of a hard link.
layer links-lower
file usr/lib/target
ln -s usr/lib lib
settle
names | bare | pack
layer links-upper
mkdir folder
ln -s folder alias
settle
names | bare | pack
rm alias
file alias/file
file lib/target
ln lib/target link
settle
tar --append --file="$PWD.tar" --format=pax --numeric-owner alias/file lib/target link
tar --delete --file="$PWD.tar" lib/target
edge links links-lower links-upper

# A path that leads through a symbolic link to nothing.
layer dangling-lower
ln -s /not/there dangling
settle
names | bare | pack
layer dangling-upper
file dangling/file
settle
names | without dangling | bare | pack
edge dangling dangling-lower dangling-upper

# An opaque root: nothing of the lower layer stays.
layer root-lower
file folder/file
settle
names | bare | pack
layer root-upper
file new
: > .wh..wh..opq
settle
names | bare | pack
edge root-opaque root-lower root-upper

# A layer with no entries.
layer nothing
pack < /dev/null
edge no-entries nothing

# A gzip layer of two members.  No tool here makes one: jq and cat.
layer members
for number in {1..40}; do file "folder/$number"; done
settle
names | bare | pack
cd "$work"
layers=$({ head -c 12000 members.tar | gzip -n; tail -c +12001 members.tar | gzip -n; } |
    blob edge application/vnd.oci.image.layer.v1.tar+gzip | jq -c '[.]')
edge gzip-members members
descriptor=$(manifest edge gzip-members | jq -c --argjson layers "$layers" '.layers = $layers' |
    blob edge application/vnd.oci.image.manifest.v1+json)
jq -c --argjson new "$descriptor" '(.manifests[]
    | select(.annotations["org.opencontainers.image.ref.name"] == "gzip-members")) += $new' \
    edge/index.json > index.json
mv index.json edge/index.json

# zstd of many frames, some of them to be skipped.  This skopeo drops what comes
# after the end of the archive, so there must be no padding there.
layer chunked
for number in {1..40}; do file "folder/$number"; done
settle
names | bare | pack --blocking-factor=1
cd "$work"
new plain:chunked amd64
add plain:chunked chunked
skopeo copy --quiet --dest-compress-format zstd:chunked oci:plain:chunked oci:edge:zstd-chunked

publish edge

#!/usr/bin/env bash
# Makes OCI image layouts that are large in one way, for `make bench-scale`. The same arguments make the same layers.
#
# Usage: make-scale.sh CASE FOLDER
#
#   mixed-N      one layer of N MiB, 64 a step: 43,000 files of 4 KiB to 16 MiB in a GiB
#   layers-N     N layers of 8 MiB, 512 files
#   small-N      one layer of N files of 1 to 4 KB, 10,000 a step, in folders as npm makes them
#   file-N       one layer, one file of N MiB, 64 a step
#   images-N     N layouts, FOLDER/1 and so on: below the same 64 MiB, above it 256 MiB of its own
#
# What is there already is left as it is. Three quarters of what is in the files are words, the others noise.
set -euo pipefail
umask 022
export LC_ALL=C

fail() { echo "make-scale: $*" >&2; exit 1; }

[ $# = 2 ] || fail "usage: make-scale.sh CASE FOLDER"
for need in igzip=isal openssl=openssl; do
    command -v "${need%=*}" >/dev/null || fail "needs ${need%=*}: apt-get install ${need#*=}"
done
kind=${1%-*}
count=${1##*-}
out=$(realpath -m "$2")
[ ! -e "$out" ] || exit 0
part=$out.part
tree=$part/tree
rm -rf "$part"
mkdir -p "$tree"
trap 'rm -rf "$part"' EXIT

# --- What is in the files

words() { # bytes: lines of words, of which some are common
    awk -v left="$1" 'BEGIN {
        srand(1)
        for (i = 0; i < 5000; i++)
            for (n = 2 + rand() * 9; n > 0; n--) words[i] = words[i] sprintf("%c", 97 + int(rand() * 26))
        while (left > 0) {
            line = ""
            for (n = 4 + rand() * 9; n > 0; n--) line = line words[int(5000 * rand() * rand() * rand())] " "
            printf "%s\n", substr(line, 1, left - 1)
            left -= length(line) + 1
        }
    }'
}

noise() { # bytes
    head -c "$1" /dev/zero | openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 2>/dev/null
}

mixed() { # bytes
    words $(($1 * 3 / 4))
    noise $(($1 / 4))
}

# 64 MiB in folders that are named by the size of their files.
mixed_tree() {
    local size
    for size in 16M:1 4M:4 1M:8 128K:128 16K:512 4K:2048; do
        mkdir "$tree/${size%:*}"
        mixed $(($(numfmt --from=iec "${size%:*}") * ${size#*:})) | split -a 4 -b "${size%:*}" - "$tree/${size%:*}/"
    done
}

# 10,000 files: a hundred packages of a hundred.
small_tree() {
    local package folder size
    words 100000 >"$part/words"
    for package in {1..100}; do
        for folder in .:1000 lib:1900 lib/internal/util:2800 dist/esm:4000; do
            size=${folder#*:}
            folder=$tree/node_modules/package-$package/${folder%:*}
            mkdir -p "$folder"
            head -c $((size * 25)) "$part/words" | split -a 2 -b "$size" --additional-suffix .js - "$folder/"
        done
    done
}

# --- Layers: tar streams that are put together, so that a tree need not be as large as its layer

tar_of() { # folder, the name that it has in the layer; without the two blocks that end an archive
    tar -c -b 1 --sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner \
        -C "$1" --transform "s,^\.,$2," . | head -c -1024
}

repeat() { # times, name: the tree, NAME-1 and so on
    local number
    for number in $(seq "$1"); do tar_of "$tree" "$2-$number"; done
}

# --- Layouts

descriptor() { # media type, file: the file becomes a blob
    local digest size
    digest=$(sha256sum "$2" | cut -d ' ' -f 1)
    size=$(stat -c %s "$2")
    mv "$2" "$layout/blobs/sha256/$digest"
    printf '{"mediaType":"application/vnd.oci.image.%s+%s","digest":"sha256:%s","size":%d}' "${1%+*}" "${1#*+}" "$digest" "$size"
}

begin() { # folder
    layout=$1
    layers='' diff_ids=''
    mkdir -p "$layout/blobs/sha256"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
}

layer() { # a command that writes a tar without its end
    { "$@"; head -c 1024 /dev/zero; } | igzip -3 -c >"$layout/layer"
    diff_ids+=${diff_ids:+,}\"sha256:$(igzip -dc "$layout/layer" | sha256sum | cut -d ' ' -f 1)\"
    layers+=${layers:+,}$(descriptor layer.v1.tar+gzip "$layout/layer")
}

finish() {
    local config manifest
    printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "$(dpkg --print-architecture)" "$diff_ids" >"$layout/config"
    config=$(descriptor config.v1+json "$layout/config")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
        "$config" "$layers" >"$layout/manifest"
    manifest=$(descriptor manifest.v1+json "$layout/manifest")
    printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"scale"}}]}' \
        "${manifest%\}}" >"$layout/index.json"
}

case $kind in
mixed)
    mixed_tree
    begin "$part/layout"
    layer repeat $((count / 64)) part
    finish
    ;;
layers)
    mixed_tree
    begin "$part/layout"
    for number in $(seq "$count"); do layer tar_of "$tree/16K" "layer-$number"; done
    finish
    ;;
small)
    small_tree
    begin "$part/layout"
    layer repeat $((count / 10000)) app
    finish
    ;;
file)
    mixed $((64 << 20)) >"$part/64M"
    for _ in $(seq $((count / 64))); do cat "$part/64M"; done >"$tree/file"
    begin "$part/layout"
    layer tar_of "$tree" root
    finish
    ;;
images)
    mixed_tree
    for number in $(seq "$count"); do
        begin "$part/layout/$number"
        layer repeat 1 base
        layer repeat 4 "image-$number"
        finish
    done
    ;;
*) fail "no such case: $1" ;;
esac
mv -T "$part/layout" "$out"

#!/bin/bash
# Makes a large OCI image layout from Debian packages with mmdebstrap and
# buildah: six layers, more than 1 GB and 50,000 files once unpacked, with
# whiteouts and opaque folders in the upper layers.
#
# Usage: make-large.sh [--zstd FOLDER] FOLDER
#
# A layout that is there already is left as it is.  --zstd makes a copy with
# zstd layers in another folder.
#
# Has to be root.  Packages come from the machine's own Debian sources; SOURCES
# names another apt sources file.  The work is done on a tmpfs of at most 8 GB,
# mounted beside FOLDER and gone at the end, as a disk would be far slower.
set -euo pipefail
umask 022
export LC_ALL=C

fail() { echo "make-large: $*" >&2; exit 1; }

zstd=
if [[ ${1:-} == --zstd ]]; then
    [[ $# -ge 2 ]] || fail "--zstd needs a folder"
    zstd=$(realpath -m "$2")
    shift 2
fi
[[ $# == 1 ]] || fail "usage: make-large.sh [--zstd FOLDER] FOLDER"
out=$(realpath -m "$1")
tag=large:1.0

# command=Debian package
for need in mmdebstrap=mmdebstrap buildah=buildah skopeo=skopeo; do
    command -v "${need%=*}" >/dev/null || fail "needs ${need%=*}: apt-get install ${need#*=}"
done
[[ $(id -u) == 0 ]] || fail "has to be root"

# One command for each layer above the base.  The package lists and some
# documentation stay until a later layer, so that removing them takes whiteouts.
install='DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends'
steps=(
    "apt-get update -qq
     $install python3 python3-numpy python3-django python3-sphinx python3-twisted \
        python3-sympy python3-pip iputils-ping libcap2-bin"

    "$install gcc g++ make git libboost1.74-dev perl
     rm -rf /usr/share/doc/python3-*"

    "$install linux-headers-amd64 vim manpages manpages-dev iso-codes
     rm -rf /usr/share/doc/libboost* /usr/include/boost/mpl /usr/include/boost/spirit"

    "$install locales-all adwaita-icon-theme tzdata nodejs
     apt-get purge -y -qq python3-sphinx
     rm -rf /usr/share/man
     mkdir -p /usr/share/man/man1
     echo removed > /usr/share/man/README"

    "$install golang-1.19-src golang-1.19-go shellcheck
     apt-get purge -y -qq vim
     rm -rf /usr/share/doc /var/lib/apt/lists
     mkdir /usr/share/doc /var/lib/apt/lists
     echo removed > /usr/share/doc/README"
)

build() {
    local scratch=$out-scratch sources=${SOURCES:-} suite container image root step
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    if [[ -z $sources ]]; then
        sources=/etc/apt/sources.list.d/debian.sources
        [[ -f $sources ]] || sources=/etc/apt/sources.list
    fi

    mkdir -p "$scratch"
    mount -t tmpfs -o size=8g,mode=700 tmpfs "$scratch"
    # shellcheck disable=SC2064  # the folder of now
    trap "umount -R '$scratch'; rmdir '$scratch'; rm -rf '$out.part'" EXIT

    b() { buildah --root "$scratch/storage" --runroot "$scratch/run" --storage-driver overlay "$@"; }

    container=$(b from scratch)
    root=$(b mount "$container")
    # How to reach the sources (proxies, checks of dates) is the machine's affair; where it says nothing about it,
    # grep finds nothing, which is no failure.
    apt-config dump | grep -E '^Acquire::(Check-|Retries|https?::)' > "$scratch/apt.conf" || true
    mmdebstrap --quiet --variant=minbase --aptopt="$scratch/apt.conf" \
        "$suite" "$root" "$sources"
    b config --os linux --cmd '["bash"]' --env PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        --created-by 'mmdebstrap --variant=minbase' "$container"
    image=layer-1
    b commit --quiet --rm "$container" "$image" >/dev/null
    echo "$image"

    for step in "${steps[@]}"; do
        container=$(b from "$image")
        b run --isolation chroot "$container" -- sh -ec "$step; apt-get clean" > "$scratch/log" 2>&1 ||
            { tail -n 40 "$scratch/log" >&2; fail "$image: the next layer failed"; }
        b config --created-by "$step" "$container"
        image=layer-$((${image#layer-} + 1))
        b commit --quiet --rm "$container" "$image" >/dev/null
        echo "$image"
    done

    rm -rf "$out.part"
    b push --quiet "$image" "oci:$out.part:$tag"
    mv -T "$out.part" "$out"
}

if [[ ! -f $out/index.json ]]; then
    (build)
fi
echo "$out"

if [[ -n $zstd ]]; then
    if [[ ! -f $zstd/index.json ]]; then
        rm -rf "$zstd.part"
        skopeo copy --quiet --dest-compress-format zstd "oci:$out:$tag" "oci:$zstd.part:$tag"
        mv -T "$zstd.part" "$zstd"
    fi
    echo "$zstd"
fi

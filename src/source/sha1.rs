//! HMAC-SHA-1, only to compare hashed host names of a `known_hosts` file with a host.
//!
//! OpenSSH hashes names there with SHA-1 so that a stolen file does not list hosts; nothing relies on it for
//! security. Nothing else may use this module.

/// RFC 2104 over RFC 3174.
pub(super) fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut block = [0_u8; 64];
    let hashed;
    let key = if key.len() > 64 {
        hashed = sha1(&[key]);
        hashed.as_slice()
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let inner = sha1(&[&block.map(|byte| byte ^ 0x36), message]);
    sha1(&[&block.map(|byte| byte ^ 0x5c), &inner])
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut data: Vec<u8> = parts.concat();
    let bits = (data.len() as u64) * 8;
    data.push(0x80);
    data.resize(data.len().next_multiple_of(64), 0);
    if data.len() * 8 < usize::try_from(bits).unwrap_or(usize::MAX) + 72 {
        data.resize(data.len() + 64, 0);
    }
    let end = data.len() - 8;
    for (to, from) in data.iter_mut().skip(end).zip(bits.to_be_bytes()) {
        *to = from;
    }
    let mut state = [
        0x6745_2301_u32,
        0xEFCD_AB89,
        0x98BA_DCFE,
        0x1032_5476,
        0xC3D2_E1F0,
    ];
    for block in data.chunks_exact(64) {
        state = compress(state, block);
    }
    let mut out = [0; 20];
    for (to, from) in out
        .iter_mut()
        .zip(state.iter().flat_map(|word| word.to_be_bytes()))
    {
        *to = from;
    }
    out
}

#[allow(clippy::many_single_char_names)] // the names of the standard
fn compress(state: [u32; 5], block: &[u8]) -> [u32; 5] {
    let mut words: Vec<u32> = Vec::with_capacity(80);
    words.extend(
        block
            .chunks_exact(4)
            .map(|four| four.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))),
    );
    for t in 16..80 {
        let back = |by: usize| words.get(t - by).copied().unwrap_or(0);
        words.push((back(3) ^ back(8) ^ back(14) ^ back(16)).rotate_left(1));
    }
    let [mut a, mut b, mut c, mut d, mut e] = state;
    for (t, word) in words.iter().enumerate() {
        let (f, k) = match t {
            0..20 => ((b & c) | (!b & d), 0x5A82_7999_u32),
            20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
            _ => (b ^ c ^ d, 0xCA62_C1D6),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(f)
            .wrapping_add(e)
            .wrapping_add(k)
            .wrapping_add(*word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    let [h0, h1, h2, h3, h4] = state;
    [
        h0.wrapping_add(a),
        h1.wrapping_add(b),
        h2.wrapping_add(c),
        h3.wrapping_add(d),
        h4.wrapping_add(e),
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    #[test]
    fn sha1_gives_the_published_digests_at_every_padding() {
        assert_eq!(hex(&sha1(&[b""])), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(&sha1(&[b"abc"])), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(&sha1(&[long])), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        // git's own object ids are SHA-1 too: an independent oracle for every length around a block's end.
        for length in 0..140 {
            let data = vec![b'x'; length];
            let header = format!("blob {length}\0");
            let id = git2::Oid::hash_object(git2::ObjectType::Blob, &data).unwrap();
            assert_eq!(
                hex(&sha1(&[header.as_bytes(), &data])),
                id.to_string(),
                "{length}"
            );
        }
    }

    #[test]
    fn hmac_gives_the_digests_of_rfc_2202() {
        assert_eq!(
            hex(&hmac_sha1(b"Jefe", b"what do ya want for nothing?")),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        let long = hmac_sha1(
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        );
        assert_eq!(hex(&long), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }
}

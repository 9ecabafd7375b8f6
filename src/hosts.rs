//! Hosts that nobody asks for a service: Slipway would ask the machine it runs on, or what answers for its cloud, in its own
//! name. The one list of them for repositories, registries and what registries send to; who reads a host says how it may be
//! written. Nothing here looks a name up.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What answers for a machine in the cloud of Amazon, beside 169.254.169.254.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether an address answers for a machine, its cloud or a network, and not for a service in it.
#[must_use]
pub fn is_no_service(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_link_local() || v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast() || v6 == METADATA_V6
        }
    }
}

/// Whether an address leads back to the machine that connects.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    plain(address).is_loopback()
}

/// Whether a name leads back to the machine that connects (RFC 6761 6.3).
#[must_use]
pub fn names_own(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// Whether a name is that of what answers for a machine in its cloud.
#[must_use]
pub fn names_no_service(name: &str) -> bool {
    name.trim_end_matches('.')
        .eq_ignore_ascii_case("metadata.google.internal")
}

/// The address that is reached: one of IPv4 that is written as one of IPv6 (RFC 4291 2.5.5.2), or that a gateway reads out of
/// one: NAT64 (RFC 6052), 6to4 (RFC 3056).
fn plain(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_for_a_machine_or_its_cloud_is_no_service_in_any_disguise() {
        for text in [
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_no_service(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.5",
            "192.168.1.1",
            "fd00::1",
            "2001:db8::1",
            "64:ff9b::a00:5",
        ] {
            let address = text.parse().unwrap();
            assert!(!is_no_service(address) && !is_own(address), "{text}");
        }
    }

    #[test]
    fn the_loopback_is_the_machine_itself_in_any_disguise() {
        for text in [
            "127.0.0.1",
            "127.8.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(is_own(text.parse().unwrap()), "{text}");
        }
        for (name, own) in [
            ("localhost", true),
            ("a.LocalHost.", true),
            ("localhost.example.com", false),
            ("mylocalhost", false),
        ] {
            assert_eq!(names_own(name), own, "{name}");
        }
        assert!(names_no_service("Metadata.google.internal."));
        assert!(!names_no_service("metadata.example.com"));
    }
}

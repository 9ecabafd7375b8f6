//! Addresses that no registry has. Who connects to them asks what answers for the machine or its cloud (169.254.169.254),
//! and a registry that sends there would have that asked in Slipway's name.
//!
//! An image's own host is judged where its reference is read; here it is what a registry names afterwards: token servers and
//! redirects. Names are looked up here, so that what they lead to is judged when it is connected to, and no earlier.

use std::net::SocketAddr;

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use crate::hosts;

/// What is said where one is named.
pub const OWN: &str = "it sends to an address that no registry has";

/// Whether a URL that a registry names has such an address, or that of this process, as it stands.
pub fn names_own(url: &Url) -> bool {
    let own = |address| hosts::is_no_service(address) || hosts::is_own(address);
    match url.host() {
        Some(url::Host::Ipv4(v4)) => own(v4.into()),
        Some(url::Host::Ipv6(v6)) => own(v6.into()),
        Some(url::Host::Domain(name)) => hosts::names_own(name) || hosts::names_no_service(name),
        None => true,
    }
}

/// Looks names up as the system does, less what no registry has. This process itself is let be: a proxy may listen there.
pub struct LookUp;

impl Resolve for LookUp {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted = admitted(found)?;
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

fn admitted(found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, &'static str> {
    let (own, others): (Vec<_>, Vec<_>) = found.partition(|address| hosts::is_no_service(address.ip()));
    if others.is_empty() && !own.is_empty() {
        return Err(OWN);
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_for_a_machine_or_its_cloud_is_no_registry_however_it_is_written() {
        for url in [
            "https://169.254.169.254/latest",
            "https://2852039166/latest",
            "https://0xa9fea9fe/latest",
            "https://[fe80::1]/x",
            "https://[fd00:ec2::254]/x",
            "https://metadata.google.internal/x",
            "https://[::ffff:169.254.169.254]/x",
            "https://0.0.0.0/x",
            "https://[::]/x",
            "https://127.0.0.1/x",
            "https://127.1/x",
            "https://[::1]/x",
            "https://localhost:8080/x",
            "https://a.localhost/x",
            "https://255.255.255.255/x",
            "https://224.0.0.1/x",
        ] {
            assert!(names_own(&Url::parse(url).unwrap()), "{url}");
        }
        for url in [
            "https://10.0.0.5/x",
            "https://[fd00::1]:5000/x",
            "https://auth.docker.io/token",
        ] {
            assert!(!names_own(&Url::parse(url).unwrap()), "{url}");
        }
    }

    #[test]
    fn of_a_name_that_leads_there_nothing_is_left_and_of_others_the_rest() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (metadata, other) = (at("169.254.169.254:0"), at("10.0.0.5:0"));
        assert_eq!(admitted([metadata].into_iter()), Err(OWN));
        assert_eq!(admitted([metadata, other].into_iter()), Ok(vec![other]));
        assert_eq!(admitted(std::iter::empty()), Ok(vec![]), "the system says why");
    }

    #[tokio::test]
    async fn other_names_are_looked_up_as_ever() {
        let name = "localhost".parse().unwrap();
        let found: Vec<SocketAddr> = LookUp.resolve(name).await.unwrap().collect();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
    }
}

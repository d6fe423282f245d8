//! A list of networks, as a key's value.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::value::Setting;

/// Networks, each an address and how many of its leading bits count.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Whether an address lies in one of them; an IPv4 address that is written as IPv6 is what it stands for.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|&(network, bits)| masked(address, bits) == network)
    }
}

/// An address without the bits that tell one host of a network from another; fewer bits than there are count all.
pub fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(parse_network).collect::<Result<_, _>>().map(Networks)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (address, bits)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(out, "{comma}{address}/{bits}")?;
        }
        Ok(())
    }
}

impl Setting for Networks {
    const KIND: &'static str =
        "networks and addresses with commas between them, such as \"10.0.0.0/8,2001:db8::/32\"";
    const PLACEHOLDER: &'static str = "NETWORKS";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn to_value(&self) -> toml::Value {
        self.to_string().into()
    }
}

fn parse_network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is no IP address"))?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => bits_max,
        Some(bits) => bits
            .parse()
            .ok()
            .filter(|&bits| bits <= bits_max)
            .ok_or_else(|| format!("{bits:?} is no number of bits from 0 to {bits_max}"))?,
    };
    let network = masked(address, bits);
    if network != address {
        return Err(format!("{text:?} has bits beyond the first {bits}; write {network}/{bits}"));
    }
    Ok((network, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written_and_hold_what_is_theirs() {
        for (text, written, inside, outside) in [
            ("", "", &[][..], &["127.0.0.1", "::"][..]),
            (
                "127.0.0.0/8, ::1",
                "127.0.0.0/8,::1/128",
                &["127.0.0.1", "127.255.3.4", "::1", "::ffff:127.0.0.9"],
                &["128.0.0.1", "::2"],
            ),
            ("10.1.2.3", "10.1.2.3/32", &["10.1.2.3"], &["10.1.2.2", "10.1.2.4", "::ffff:10.1.2.4"]),
            ("0.0.0.0/0", "0.0.0.0/0", &["8.8.8.8"], &["2001:db8::1"]),
            ("2001:db8::/32", "2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::1"]),
            ("192.168.4.0/23", "192.168.4.0/23", &["192.168.5.255"], &["192.168.6.0"]),
        ] {
            let networks = Networks::parse(text).unwrap();
            assert_eq!(networks.to_string(), written);
            assert_eq!(Networks::parse(written), Ok(networks.clone()));
            for address in inside {
                assert!(networks.contain(address.parse().unwrap()), "{address} in {text:?}");
            }
            for address in outside {
                assert!(!networks.contain(address.parse().unwrap()), "{address} in {text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_refused_in_words() {
        for (text, why) in [
            ("localhost", "\"localhost\" is no IP address"),
            ("10.0.0.0/33", "\"33\" is no number of bits from 0 to 32"),
            ("::/129", "\"129\" is no number of bits from 0 to 128"),
            ("10.0.0.0/", "\"\" is no number"),
            ("10.0.0.0/-1", "\"-1\" is no number"),
            ("10.0.0.1/8", "has bits beyond the first 8; write 10.0.0.0/8"),
            ("1.1.1.1,nobody", "\"nobody\" is no IP address"),
        ] {
            let error = Networks::parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}

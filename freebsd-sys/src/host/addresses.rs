//! Addresses in messages. FreeBSD prints some; here they would differ between processes, and even between executions, while a
//! replay has to end with the same text. So they are numbered in order of appearance, and look like the kernel's.

/// Where FreeBSD/amd64 maps physical memory.
const DMAP: u64 = 0xffff_f800_0000_0000;

/// The addresses that an execution's texts have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Vec<u64>);

impl Addresses {
    /// Replaces each address in `text`: a hexadecimal number of more than 32 bits.
    pub(crate) fn replace(&mut self, text: &mut String) {
        let mut from = 0;
        while let Some(at) = text[from..].find("0x").map(|at| from + at) {
            let digits = text[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
            from = at + 2 + digits;
            match u64::from_str_radix(&text[at + 2..from], 16) {
                Ok(address) if address > u32::MAX.into() => {
                    let known = self.0.iter().position(|&other| other == address);
                    let n = known.unwrap_or_else(|| {
                        self.0.push(address);
                        self.0.len() - 1
                    });
                    let shown = format!("{:#x}", DMAP + ((n as u64 + 1) << 12));
                    text.replace_range(at..from, &shown);
                    from = at + shown.len();
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numbered_and_small_numbers_stay() {
        let mut addresses = Addresses::default();
        let mut text = "lock 0x7f0000001000 of 0x55aabbccddee, 0x8, 0x, 0xffffffff, 0x7f0000001000".to_owned();
        addresses.replace(&mut text);
        assert_eq!(text, "lock 0xfffff80000001000 of 0xfffff80000002000, 0x8, 0x, 0xffffffff, 0xfffff80000001000");
        let mut again = "0x55aabbccddee".to_owned();
        addresses.replace(&mut again);
        assert_eq!(again, "0xfffff80000002000");
    }
}

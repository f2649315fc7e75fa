//! The kernel's texts, in printf's notation, compared with what a machine printed.
//!
//! | in the pattern | stands for |
//! |---|---|
//! | `%p` | an address |
//! | `%d` | a decimal number |
//! | `%s:%d` | a source location in a file of this module: where the misuse was committed |
//! | `failed at %s:%d` | of an MPASS, which may lie in the kernel: any source location |
//! | anything else | itself |

/// Whether `text` is what `pattern` says, from the first letter to the last.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some(at) = pattern.find('%') else { return pattern == text };
    let (literal, directive) = pattern.split_at(at);
    let Some(rest) = text.strip_prefix(literal) else { return false };
    let (taken, left): (Option<usize>, &str) = if let Some(left) = directive.strip_prefix("%s:%d") {
        (location(rest, literal.ends_with("failed at ")), left)
    } else if let Some(left) = directive.strip_prefix("%p") {
        (address(rest), left)
    } else if let Some(left) = directive.strip_prefix("%d") {
        (number(rest), left)
    } else {
        // A percent sign is one.
        (rest.starts_with('%').then_some(1), &directive[1..])
    };
    taken.is_some_and(|taken| matches(left, &rest[taken..]))
}

/// Length of the address at the beginning of `text`.
fn address(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("0x")?.bytes().take_while(u8::is_ascii_hexdigit).count();
    (digits > 0).then_some(2 + digits)
}

/// Length of the number at the beginning of `text`.
fn number(text: &str) -> Option<usize> {
    let sign = usize::from(text.starts_with('-'));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then_some(sign + digits)
}

/// Length of the source location at the beginning of `text`.
fn location(text: &str, anywhere: bool) -> Option<usize> {
    let end = text.find(".rs:")? + 4;
    let file = &text[..end];
    let ours = anywhere || file.replace('\\', "/").contains("compat-tests/src/misuse/");
    (ours && !file.contains(' ')).then_some(end + number(&text[end..])?)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn each_directive_takes_what_it_stands_for() {
        let here = format!("{}:{}", file!(), line!());
        assert!(matches("mutex m not owned at %s:%d", &format!("mutex m not owned at {here}")));
        assert!(matches("a %p b %d @ %s:%d.", &format!("a 0xfffff80000001000 b -1 @ {here}.")));
        assert!(matches("100% of %d", "100% of 3"));
        assert!(matches("Assertion x failed at %s:%d", "Assertion x failed at freebsd-sys/src/seqc.rs:7"));
    }

    #[test]
    fn anything_else_is_compared_letter_for_letter() {
        let here = format!("{}:{}", file!(), line!());
        for (pattern, text) in [
            ("mutex m not owned at %s:%d", format!("mutex m not owned @ {here}")),
            ("mutex m not owned at %s:%d", format!("mutex m not owned at {here}.")),
            ("mutex m not owned at %s:%d", "mutex m not owned at freebsd-sys/src/mutex.rs:7".to_owned()),
            ("lock %p", "lock 0x".to_owned()),
            ("%d locks", "no locks".to_owned()),
            ("text", "text and more".to_owned()),
            ("text", String::new()),
        ] {
            assert!(!matches(pattern, &text), "{pattern:?} matches {text:?}");
        }
    }
}

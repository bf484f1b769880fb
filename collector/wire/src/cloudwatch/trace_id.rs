//! Ids of traces and spans: X-Ray's texts and OpenTelemetry's bytes.

/// X-Ray's trace id as OpenTelemetry's 16 bytes.
pub fn xray_trace_id(text: &str) -> Option<Vec<u8>> {
    let (time, rest) = text.strip_prefix("1-")?.split_once('-')?;
    if time.len() != 8 || rest.len() != 24 {
        return None;
    }
    hex_bytes(&format!("{time}{rest}"))
}

/// The time, in milliseconds, that an X-Ray trace id bears: its own start.
pub fn xray_trace_start_ms(text: &str) -> Option<i64> {
    let (time, _) = text.strip_prefix("1-")?.split_once('-')?;
    Some(i64::from(u32::from_str_radix(time, 16).ok()?) * 1_000)
}

/// The 8 bytes of a span id.
pub fn span_id(text: &str) -> Option<Vec<u8>> {
    hex_bytes(text).filter(|bytes| bytes.len() == 8)
}

/// The bytes of hex digits; none for anything else, and for all zeros, which is no id.
pub fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    let pairs = text.as_bytes().chunks_exact(2);
    let bytes: Vec<u8> = pairs.map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | digit(*half))).collect();
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xray_ids() {
        let bytes = xray_trace_id("1-58406520-a006649127e371903a2de979").unwrap();
        assert_eq!((bytes.len(), bytes[0], bytes[15]), (16, 0x58, 0x79));
        assert_eq!(xray_trace_start_ms("1-58406520-a006649127e371903a2de979"), Some(1_480_615_200_000));
        for wrong in ["", "2-58406520-a006649127e371903a2de979", "1-58406520", "1-58406520-a006649127e371903a2de97g"] {
            assert_eq!(xray_trace_id(wrong), None, "{wrong}");
        }
        assert_eq!(span_id("70de5b6f19ff9a0a").unwrap().len(), 8);
        assert_eq!((span_id("70de"), span_id("0000000000000000")), (None, None));
    }
}

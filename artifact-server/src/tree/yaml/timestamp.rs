//! Which texts go-yaml takes for a time: they must be quoted where they are none.

/// Whether a text has one of the forms `2006-1-2`, `2006-1-2 15:4:5` and `2006-1-2T15:4:5Z` (or `t`, or an offset as `+07:00`), seconds with
/// a fraction or without, and names a day that exists.
pub(super) fn is_timestamp(text: &str) -> bool {
    let Some((year, rest)) = text.split_at_checked(4) else {
        return false;
    };
    let Some(year) = year.parse().ok().filter(|_| year.bytes().all(|byte| byte.is_ascii_digit())) else {
        return false;
    };
    let mut rest = Rest(rest.as_bytes());
    rest.date(year).and_then(|()| rest.time()).is_some()
}

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Month and day.
    fn date(&mut self, year: u32) -> Option<()> {
        let month = self.behind(b'-')?;
        let day = self.behind(b'-')?;
        let exists = (1..=12).contains(&month) && (1..=days(year, month)).contains(&day);
        exists.then_some(())
    }

    /// Nothing, or all that may follow a date.
    fn time(&mut self) -> Option<()> {
        let Some((mark, rest)) = self.0.split_first() else {
            return Some(());
        };
        self.0 = rest;
        let (hour, minute, second) = (self.number()?, self.behind(b':')?, self.behind(b':')?);
        self.fraction();
        match mark {
            b'T' | b't' => self.zone()?,
            b' ' => {}
            _ => return None,
        }
        (hour < 24 && minute < 60 && second < 60 && self.0.is_empty()).then_some(())
    }

    /// A number behind a byte.
    fn behind(&mut self, byte: u8) -> Option<u32> {
        self.0 = self.0.strip_prefix(&[byte])?;
        self.number()
    }

    /// One digit or two.
    fn number(&mut self) -> Option<u32> {
        let length = self.0.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn fraction(&mut self) {
        if let [b'.' | b',', digits @ ..] = self.0 {
            let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if length > 0 {
                self.0 = &digits[length..];
            }
        }
    }

    fn zone(&mut self) -> Option<()> {
        if let Some(rest) = self.0.strip_prefix(b"Z") {
            self.0 = rest;
            return Some(());
        }
        let [b'+' | b'-', hour @ .., b':', _, _] = self.0 else {
            return None;
        };
        let (hours, minutes) = (Rest(hour).two()?, Rest(&self.0[4..]).two()?);
        self.0 = &[];
        (hours <= 24 && minutes <= 60).then_some(())
    }

    /// Two digits and nothing else.
    fn two(&mut self) -> Option<u32> {
        if self.0.len() == 2 { self.number().filter(|_| self.0.is_empty()) } else { None }
    }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

//! The verbs that a rule speaks of, as bits: all that can ever be asked for are a few.

/// What RequestInfo can hold as a verb, for resources and for other paths. Any other would never match.
pub(crate) const RESOURCE_VERBS: &[&str] =
    &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy"];
pub(crate) const PATH_VERBS: &[&str] = &["get", "head", "post", "put", "patch", "delete", "options"];

/// A set of verbs: all of them, those to come included, or some of those that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbs {
    All,
    Of(u16),
}

impl Verbs {
    /// Reads what a rule says, where `known` are the verbs that its scope can be asked for.
    pub(crate) fn new(written: &[String], known: &[&str]) -> Result<Self, String> {
        if written.is_empty() {
            return Err("verbs: the list is empty".to_owned());
        }
        if let [all] = written
            && all == "*"
        {
            return Ok(Verbs::All);
        }
        written.iter().try_fold(Verbs::NONE, |verbs, verb| {
            if verb.contains('*') {
                return Err(format!("verbs: {verb:?}: `*` stands alone here"));
            }
            match known.contains(&verb.as_str()) {
                true => Ok(verbs.or(Verbs::of(verb))),
                false => {
                    Err(format!("verbs: {verb:?} is never requested; known are {}, *", known.join(", ")))
                }
            }
        })
    }

    const NONE: Self = Verbs::Of(0);

    /// One verb. One that nothing knows is in no set but that of all.
    pub(crate) fn of(verb: &str) -> Self {
        let known = RESOURCE_VERBS.iter().chain(PATH_VERBS).position(|known| *known == verb);
        Verbs::Of(known.map_or(0, |at| 1 << at))
    }

    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Verbs::Of(some), Verbs::Of(more)) => Verbs::Of(some | more),
            _ => Verbs::All,
        }
    }

    /// Whether one of `others` is among these.
    pub(crate) fn include_any(self, others: Self) -> bool {
        match (self, others) {
            (Verbs::Of(these), Verbs::Of(others)) => these & others != 0,
            _ => true,
        }
    }

    /// Those that are not among `others`. All without some are all that are `known` without them.
    pub(crate) fn without(self, others: Self, known: &[&str]) -> Self {
        let some = |verbs| match verbs {
            Verbs::Of(verbs) => verbs,
            Verbs::All => known.iter().fold(0, |some, verb| match Verbs::of(verb) {
                Verbs::Of(verb) => some | verb,
                Verbs::All => some,
            }),
        };
        match others {
            Verbs::All => Verbs::NONE,
            Verbs::Of(0) => self,
            Verbs::Of(others) => Verbs::Of(some(self) & !others),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Verbs::NONE
    }

    /// Their names, of which those in `known` are meant; `*` for all.
    pub(crate) fn names(self, known: &[&str]) -> Vec<String> {
        match self {
            Verbs::All => vec!["*".to_owned()],
            some => known
                .iter()
                .filter(|verb| some.include_any(Verbs::of(verb)))
                .map(ToString::to_string)
                .collect(),
        }
    }

    /// How many they are, for comparing rules.
    pub(crate) fn breadth(self) -> u64 {
        match self {
            Verbs::All => 20,
            Verbs::Of(these) => these.count_ones().into(),
        }
    }
}

const _: () = assert!(RESOURCE_VERBS.len() + PATH_VERBS.len() <= 16);

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(written: &[&str]) -> Result<Verbs, String> {
        let written: Vec<String> = written.iter().map(ToString::to_string).collect();
        Verbs::new(&written, RESOURCE_VERBS)
    }

    #[test]
    fn sets_include_what_was_written_and_nothing_else() {
        let some = verbs(&["get", "delete"]).unwrap();
        for verb in RESOURCE_VERBS.iter().chain(PATH_VERBS).chain(&["frobnicate"]) {
            assert_eq!(some.include_any(Verbs::of(verb)), ["get", "delete"].contains(verb), "{verb}");
            assert!(verbs(&["*"]).unwrap().include_any(Verbs::of(verb)), "{verb}");
        }
        assert!(some.include_any(Verbs::of("list").or(Verbs::of("get"))));
        assert_eq!((some.breadth(), verbs(&["*"]).unwrap().breadth()), (2, 20));
    }

    #[test]
    fn what_is_taken_away_is_gone() {
        let (some, all) = (verbs(&["get", "delete"]).unwrap(), Verbs::All);
        assert_eq!(some.without(Verbs::of("get"), RESOURCE_VERBS).names(RESOURCE_VERBS), ["delete"]);
        assert!(some.without(all, RESOURCE_VERBS).is_empty());
        assert_eq!(all.without(Verbs::NONE, RESOURCE_VERBS).names(RESOURCE_VERBS), ["*"]);
        let left = all.without(some, RESOURCE_VERBS).names(RESOURCE_VERBS);
        assert_eq!(left, ["list", "watch", "create", "update", "patch", "deletecollection", "proxy"]);
    }

    #[test]
    fn mistakes_are_told() {
        for (written, said) in [
            (&[][..], "is empty"),
            (&["get", "*"], "stands alone"),
            (&["g*"], "stands alone"),
            (&["head"], "never requested; known are get, list"),
        ] {
            let error = verbs(written).unwrap_err();
            assert!(error.contains(said), "{written:?}: {error}");
        }
    }
}

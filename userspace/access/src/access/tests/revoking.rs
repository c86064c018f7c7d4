//! Who ends grants.

use super::*;

on_both_stores! {
    who_may_revoke
    grants_are_revoked_by_what_they_have_in_common
    only_administrators_end_everything
}

fn who_may_revoke(scene: Scene) {
    for revoker in [alice(), bob(), person("root", &["admins"])] {
        let scene = scene.another();
        let grant = scene.granted();
        let mut changes = scene.access.subscribe();
        assert!(!changes.has_changed().unwrap());
        for outsider in [carol(), person("eve", &["dev"])] {
            let error = said(scene.access.revoke(&outsider, &grant, "because"));
            assert!(error.contains("may not revoke"), "{error}");
        }
        assert!(said(scene.access.revoke(&revoker, &grant, "")).starts_with("the reason must be"));
        assert!(scene.may_get_pods());

        scene.access.revoke(&revoker, &grant, "incident over").unwrap();
        assert!(changes.has_changed().unwrap(), "streams are told");
        let ended = changes.borrow_and_update().grant_live(&grant, scene.clock.now()).unwrap_err();
        assert_eq!(ended.to_string(), format!("revoked by {}: incident over", revoker.name));
        assert!(!scene.may_get_pods());
        let again = said(scene.access.revoke(&revoker, &grant, "twice"));
        assert_eq!(again, format!("grant {grant} has ended: {ended}"));
    }
}

fn grants_are_revoked_by_what_they_have_in_common(scene: Scene) {
    let zoe = person("zoe", &["dev"]);
    let hold = |who: &Subject, role: &str| {
        scene.access.request(who, &NewRequest { target: Some("demo".into()), ..new(role) }).unwrap()
    };
    let approved = |who: &Subject, role: &str| {
        scene.access.approve(&bob(), &hold(who, role).id, "").unwrap().grant.unwrap()
    };
    let select = |subject: Option<&str>, role: Option<&str>, target: Option<&str>| Selection {
        subject: subject.map(str::to_owned),
        role: role.map(|role| role.parse().unwrap()),
        target: target.map(str::to_owned),
    };
    let revoke = |by: &Subject, selection: &Selection| {
        let ended = scene.access.revoke_all(by, selection, "incident over")?;
        assert!(
            ended
                .iter()
                .all(|grant| matches!(&grant.ended, Some(Ended::Revoked { by, .. }) if by.name == "bob"))
        );
        Ok::<Vec<GrantId>, AccessError>(ended.into_iter().map(|grant| grant.id).collect())
    };
    let live = || scene.access.grants(&GrantFilter { live: true, subject: None }).unwrap().len();

    let (pods, anywhere) = (approved(&alice(), "pods"), approved(&alice(), "anywhere"));
    let (free, zoes) = (hold(&alice(), "free").grant.unwrap(), approved(&zoe, "pods"));
    assert_eq!(live(), 4);

    // One that bob may not revoke, and all of them stay. (Role `free` has no approvers.)
    let error = said(revoke(&bob(), &select(Some("alice"), None, None)));
    let expected = format!("nothing was revoked: bob may not revoke {free} of alice (role free);");
    assert!(error.starts_with(&expected), "{error}");
    let error = said(revoke(&zoe, &select(None, Some("pods"), None)));
    assert!(error.contains(pods.as_str()) && !error.contains(zoes.as_str()), "{error}");
    assert_eq!(live(), 4);

    for nobody in [
        select(Some("Alice"), None, None),
        select(Some("zoe"), Some("anywhere"), None),
        select(None, Some("pods"), Some("other")),
        select(None, Some("gone"), None),
    ] {
        assert!(said(revoke(&bob(), &nobody)).starts_with("nothing was revoked: no live grant is "));
    }
    let error = said(revoke(&bob(), &select(Some("zoe"), Some("anywhere"), Some("demo"))));
    assert!(
        error.ends_with("no live grant is of role anywhere, held by \"zoe\", on target \"demo\""),
        "{error}"
    );
    let wordless = scene.access.revoke_all(&bob(), &select(None, Some("pods"), None), "");
    assert!(said(wordless).starts_with("the reason must be"));

    assert_eq!(revoke(&bob(), &select(Some("alice"), Some("pods"), None)).unwrap(), [pods]);
    assert_eq!(revoke(&bob(), &select(Some("alice"), Some("anywhere"), Some("demo"))).unwrap(), [anywhere]);
    assert_eq!(revoke(&bob(), &select(None, Some("pods"), Some("demo"))).unwrap(), [zoes]);
    assert_eq!(live(), 1);
    let revoked = scene.actions().into_iter().filter(|action| *action == EventAction::Revoked);
    assert_eq!(revoked.count(), 3);
}

fn only_administrators_end_everything(scene: Scene) {
    scene.granted();
    scene.access.request(&person("zoe", &["dev"]), &new("free")).unwrap();
    let all = Selection::default();
    for other in [alice(), bob()] {
        let error = said(scene.access.revoke_all(&other, &all, "panic"));
        assert!(error.ends_with("may not revoke every grant: only members of adminGroups may"), "{error}");
    }
    assert!(scene.may_get_pods());
    let admin = person("root", &["admins"]);
    assert_eq!(scene.access.revoke_all(&admin, &all, "lockdown").unwrap().len(), 2);
    assert!(!scene.may_get_pods());
    assert!(scene.access.revoke_all(&admin, &all, "lockdown").unwrap().is_empty(), "nothing is left to end");
}

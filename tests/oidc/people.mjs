// Who can log in, and what the provider says of them.

const person = (name, groups, roles, verified = true) => ({
  sub: `sub-${name}`,
  name: name[0].toUpperCase() + name.slice(1),
  preferred_username: name,
  email: `${name}@example.test`,
  email_verified: verified,
  groups,
  realm_access: { roles },
});

export const PEOPLE = {
  alice: person('alice', ['dev'], ['engineer']),
  bob: person('bob', ['dev', 'leads'], ['lead']),
  carol: person('carol', [], [], false),
  mallory: person('mallory', ['dev'], ['engineer']),
};

// Which scope shows which claims.
export const CLAIMS = {
  openid: ['sub'],
  email: ['email', 'email_verified'],
  profile: ['name', 'preferred_username'],
  groups: ['groups', 'realm_access'],
};

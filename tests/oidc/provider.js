// An OpenID Connect provider for the tests: `node provider.js PORT`, port 0 for any. It says on one line where it is, and
// signs in whoever login_hint names, without a question. POST /control turns its keys or plants a fault in its ID tokens, and
// tells how often its keys were fetched.

import { createHmac, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const CLIENT = { id: "vyuha", secret: "a secret of the tests, 32 bytes and more" };

/** Who has which address here. */
const PEOPLE = {
  asha: { email: "asha@example.com", email_verified: true },
  unverified: { email: "ravi@example.com", email_verified: false },
  nobody: {},
};

let issuer;
let key;
let fault = {};
let keyFetches = 0;
let provider;

function turnKeys() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  key = { privateKey, kid: randomUUID() };
  provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        grant_types: ["authorization_code"],
        redirect_uris: ["https://play.example.com/signed-in", "http://127.0.0.1:7000/"],
      },
    ],
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: key.kid, use: "sig", alg: "RS256" }] },
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    cookies: { keys: ["of the tests"] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) }),
    async loadExistingGrant(ctx) {
      const grant = new provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope("openid email");
      await grant.save();
      return grant;
    },
    ttl: { AccessToken: 60, AuthorizationCode: 60, Grant: 60, IdToken: 60, Interaction: 60, Session: 60 },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.body?.id_token) ctx.body.id_token = faulty(ctx.body.id_token);
  });
}

/** The token with the planted fault, signed anew. */
function faulty(token) {
  const { header: changedHeader, claims: changedClaims, stranger, shared } = fault;
  if (Object.keys(fault).length === 0) return token;
  const [header, claims] = token.split(".", 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode({ ...header, ...changedHeader })}.${encode({ ...claims, ...changedClaims })}`;
  if (changedHeader?.alg === "none") return `${signed}.`;
  if (shared) return `${signed}.${createHmac("sha256", CLIENT.secret).update(signed).digest("base64url")}`;
  const privateKey = stranger ? generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey : key.privateKey;
  return `${signed}.${sign("sha256", signed, privateKey).toString("base64url")}`;
}

async function body(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return JSON.parse(text);
}

const server = createServer(async (request, response) => {
  try {
    if (request.url === "/control") {
      const order = await body(request);
      if (order.turn_keys) turnKeys();
      fault = order.fault ?? {};
      response.end(JSON.stringify({ key_fetches: keyFetches }));
    } else if (request.url.startsWith("/interaction/")) {
      const { params } = await provider.interactionDetails(request, response);
      await provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
    } else {
      if (request.url === "/jwks") keyFetches += 1;
      provider.callback()(request, response);
    }
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});

server.listen(Number(process.argv[2]), "127.0.0.1", () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  turnKeys();
  console.log(issuer);
});

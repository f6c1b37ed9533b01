# The image of the sidecar and the operator: compiled JavaScript on Node 24, as an ordinary user.
FROM node:24-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# The base image brings Node; the npm package that brings it to a checkout is not needed.
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev && rm -rf node_modules/node node_modules/node-bin-* node_modules/.bin

FROM node:24-slim
LABEL org.opencontainers.image.title="walstorage" \
      org.opencontainers.image.description="Write-ahead log storage for ProximaDB: sidecar and operator" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY --from=build /src/dist ./dist
COPY --from=build /src/node_modules ./node_modules
COPY LICENSE ./
RUN printf '#!/bin/sh\nexec node /app/dist/sidecar/cli/main.js "$@"\n' > /usr/local/bin/walstorage && chmod 755 /usr/local/bin/walstorage
ENV NODE_ENV=production
USER 1000:1000
ENTRYPOINT ["walstorage"]
